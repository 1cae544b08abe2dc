//! What is known, as JSON. Numbers are plain, absent things are null, and every object that stands
//! alone names its schema.

use std::path::Path;

use hardlog::{
    EntryId, Verdict,
    fs::LockState,
    inspect::{Contents, Finding, SegmentReport, SnapshotReport, Summary, Trouble, VerifyReport},
};
use serde_json::{Value, json};

use crate::next;

/// `object` with the name of its schema in front.
pub(crate) fn tagged(schema: &str, object: Value) -> Value {
    let mut out = serde_json::Map::new();
    out.insert("schema".to_owned(), json!(schema));
    if let Value::Object(fields) = object {
        out.extend(fields);
    }
    Value::Object(out)
}

/// The whole report.
pub(crate) fn report(schema: &str, report: &VerifyReport, dir: &Path) -> Value {
    let all = |items: Vec<Value>| Value::Array(items);
    json!({
        "schema": schema,
        "exit": report.outcome().code(),
        "verdict": report.outcome().name().to_lowercase(),
        "dir": dir.display().to_string(),
        "quick": report.quick,
        "lock": lock(&report.lock),
        "log": summary(&report.summary),
        "bytes": report.bytes,
        "seconds": report.took.as_secs_f64(),
        "segments": all(report.segments.iter().map(segment).collect()),
        "snapshots": all(report.snapshots.iter().map(snapshot).collect()),
        "findings": all(report.findings.iter().map(|f| finding(f, dir)).collect()),
        "omitted": report.omitted,
        "troubles": all(report.troubles.iter().map(trouble).collect()),
        "foreign": report.foreign,
    })
}

fn lock(lock: &LockState) -> Value {
    let (state, holder) = match lock {
        LockState::Free => ("free", None),
        LockState::Held(holder) => ("live", Some(holder)),
        LockState::Stale(holder) => ("stale", Some(holder)),
        LockState::Unknown(holder) => ("unknown", Some(holder)),
    };
    json!({ "state": state, "holder": holder })
}

pub(crate) fn id(id: &EntryId) -> Value {
    json!({ "index": id.index, "term": id.term, "tag": id.tag })
}

fn summary(summary: &Summary) -> Value {
    let hs = summary.hard_state;
    let mark = summary.mark.map(
        |mark| json!({ "id": id(&mark.id), "size": mark.size, "crc": format!("{:08x}", mark.crc) }),
    );
    json!({
        "id": summary.log_id.map(|id| id.to_string()),
        "format": 1,
        "first": summary.window.map(|(first, _)| first),
        "next": summary.window.map(|(_, next)| next),
        "last": summary.last.as_ref().map(id),
        "term": hs.term,
        "vote": hs.vote,
        "commit": hs.commit,
        "slots": summary.slots,
        "mark": mark,
        "maybe_lost": summary.maybe_lost,
    })
}

pub(crate) fn segment(segment: &SegmentReport) -> Value {
    json!({
        "id": segment.id,
        "file": segment.file.display().to_string(),
        "role": segment.role.name(),
        "bytes": segment.len,
        "end": segment.end,
        "created": segment.created.as_secs(),
        "begins": segment.begins,
        "indexed": segment.indexed,
        "live": segment.live,
        "contents": segment.contents.map(contents),
    })
}

fn contents(contents: Contents) -> Value {
    json!({
        "indexes": contents.indexes,
        "terms": contents.terms,
        "batches": contents.batches,
        "markers": contents.markers,
        "entries": contents.entries,
        "payload_bytes": contents.bytes,
    })
}

pub(crate) fn snapshot(snapshot: &SnapshotReport) -> Value {
    json!({
        "id": id(&snapshot.id),
        "bytes": snapshot.file_len,
        "payload_bytes": snapshot.len,
        "marked": snapshot.marked,
        "sound": snapshot.sound,
    })
}

pub(crate) fn finding(finding: &Finding, dir: &Path) -> Value {
    let verdict = finding.verdict.map(|verdict| match verdict {
        Verdict::CleanEnd => "clean end",
        Verdict::Unproven => "unproven",
        Verdict::MarkersMissing => "markers missing",
        Verdict::Corrupt => "corrupt",
    });
    json!({
        "code": finding.code.name(),
        "title": finding.code.title(),
        "severity": finding.severity.name(),
        "file": finding.file.display().to_string(),
        "offset": finding.offset,
        "len": finding.len,
        "indexes": finding.indexes,
        "term": finding.term,
        "verdict": verdict,
        "evidence": finding.evidence.map(|evidence| evidence.to_string()),
        "detail": finding.detail,
        "next": next::about(finding, dir),
    })
}

fn trouble(trouble: &Trouble) -> Value {
    let kind = match trouble {
        Trouble::NewerFormat { .. } => "newer format",
        _ => "i/o",
    };
    json!({ "kind": kind, "message": trouble.to_string() })
}
