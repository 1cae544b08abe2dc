//! What the commands that look print: `status`, `verify`, `ls`, `get`, `hex`, `stats`, `diff`,
//! `snapshot`, `explain`, and a failure.

use serde_json::{Value, json};

use super::{
    Definition, alone as named, base64, count, ended, exit_code, hex, list, list_or_count, object,
    or_null, part, span, text, verdict, word, yes_or_no,
};

type Fields = Vec<(&'static str, Value)>;

/// What stands inside others.
pub(super) fn parts() -> Vec<Definition> {
    vec![
        ("a.segment", object(segment())),
        ("a.snapshot", object(snapshot())),
        ("a.finding", object(finding())),
        ("a.field", object(field())),
        ("a.replica", object(replica())),
        ("a.difference", object(difference())),
        ("entry-id", object(vec![("index", count()), ("term", count()), ("tag", count())])),
        (
            "lock",
            object(vec![
                ("state", word(&["free", "live", "stale", "unknown"])),
                ("holder", or_null(text())),
            ]),
        ),
        ("log", log()),
        ("contents", contents()),
        ("trouble", object(vec![("kind", word(&["newer format", "i/o"])), ("message", text())])),
        ("page", object(page())),
        ("a.term", object(counted("term", count()))),
        ("a.kind", object(counted("kind", text()))),
        ("a.size", object(counted("below", count()))),
        ("a.trim", object(trim())),
    ]
}

/// What stands on a line, or in a document, of its own.
pub(super) fn alone() -> Vec<Definition> {
    let mut status = report();
    status.extend([("free_bytes", or_null(count())), ("quarantined", count())]);
    status.push(("temporary", count()));
    let mut explain = vec![("exit", exit_code())];
    explain.extend(page());
    vec![
        named("status", status),
        named("verify", report()),
        named("segment", segment()),
        named("snapshot", snapshot()),
        named("finding", finding()),
        named("snapshot.show", shown()),
        named(
            "snapshot.verify",
            ended(vec![
                ("verdict", word(&["clean", "heals on open", "damaged"])),
                ("snapshots", list(part("a.snapshot"))),
                ("findings", list(part("a.finding"))),
            ]),
        ),
        named("ls", ls()),
        named("get", get()),
        named("hex", ended(vec![("segment", count()), ("fields", list_or_count("a.field"))])),
        named("field", field()),
        named("stats", stats()),
        named("stats.term", counted("term", count())),
        named("stats.kind", counted("kind", text())),
        named("stats.size", counted("below", count())),
        named("stats.trim", trim()),
        named("diff", diff()),
        named("diff.replica", replica()),
        named("diff.difference", difference()),
        named("explain", explain),
        named("explain.all", vec![("exit", exit_code()), ("pages", list(part("page")))]),
        named("error", vec![("exit", exit_code()), ("error", text())]),
    ]
}

/// `verify`, and most of `status`.
fn report() -> Fields {
    ended(vec![
        ("verdict", verdict()),
        ("quick", yes_or_no()),
        ("lock", part("lock")),
        ("log", part("log")),
        ("bytes", count()),
        ("seconds", json!({ "type": "number", "minimum": 0 })),
        ("segments", list_or_count("a.segment")),
        ("snapshots", list_or_count("a.snapshot")),
        ("findings", list_or_count("a.finding")),
        ("omitted", count()),
        ("troubles", list(part("trouble"))),
        ("foreign", list(text())),
    ])
}

fn log() -> Value {
    let mark = object(vec![("id", part("entry-id")), ("size", count()), ("crc", hex())]);
    object(vec![
        ("id", or_null(hex())),
        ("format", json!({ "const": 1 })),
        ("first", or_null(count())),
        ("next", or_null(count())),
        ("last", or_null(part("entry-id"))),
        ("term", count()),
        ("vote", or_null(count())),
        ("commit", count()),
        ("slots", count()),
        ("mark", or_null(mark)),
        ("maybe_lost", or_null(count())),
    ])
}

fn segment() -> Fields {
    vec![
        ("id", count()),
        ("file", text()),
        ("role", word(&["active", "sealed", "leftover", "unreadable"])),
        ("bytes", count()),
        ("end", count()),
        ("created", count()),
        ("begins", or_null(count())),
        ("indexed", yes_or_no()),
        ("live", or_null(span())),
        ("contents", or_null(part("contents"))),
    ]
}

fn contents() -> Value {
    object(vec![
        ("indexes", or_null(span())),
        ("terms", or_null(span())),
        ("batches", count()),
        ("markers", count()),
        ("entries", count()),
        ("payload_bytes", count()),
    ])
}

fn snapshot() -> Fields {
    vec![
        ("id", part("entry-id")),
        ("bytes", count()),
        ("payload_bytes", or_null(count())),
        ("marked", yes_or_no()),
        ("sound", yes_or_no()),
    ]
}

fn shown() -> Fields {
    ended(vec![
        ("file", text()),
        ("id", part("entry-id")),
        ("marked", yes_or_no()),
        ("bytes", count()),
        ("payload_bytes", or_null(count())),
        ("crc", or_null(hex())),
        ("meta", base64()),
        ("begins", or_null(base64())),
        ("damage", or_null(text())),
    ])
}

pub(super) fn finding() -> Fields {
    let verdicts = ["clean end", "unproven", "markers missing", "corrupt"];
    vec![
        ("code", json!({ "type": "string", "pattern": "^W[1-6][0-9][0-9]$" })),
        ("title", text()),
        ("severity", word(&["note", "warning", "error"])),
        ("file", text()),
        ("offset", count()),
        ("len", count()),
        ("indexes", or_null(span())),
        ("term", or_null(count())),
        ("verdict", or_null(word(&verdicts))),
        ("evidence", or_null(text())),
        ("detail", text()),
        ("next", list(text())),
    ]
}

fn ls() -> Fields {
    ended(vec![
        ("verdict", verdict()),
        ("first", or_null(count())),
        ("next", or_null(count())),
        ("rows", count()),
        ("segments?", list(part("a.segment"))),
        ("snapshots?", list(part("a.snapshot"))),
    ])
}

/// An entry, or why there is none: one of `id` and `missing` is there.
fn get() -> Fields {
    ended(vec![
        ("id?", part("entry-id")),
        ("segment?", count()),
        ("offset?", count()),
        ("sequence?", count()),
        ("len?", count()),
        ("crc?", object(vec![("stored", hex()), ("computed", hex())])),
        ("sound?", yes_or_no()),
        ("refilled?", yes_or_no()),
        ("committed?", yes_or_no()),
        ("base64?", base64()),
        ("hex?", hex()),
        ("utf8?", text()),
        ("decoded?", text()),
        ("missing?", count()),
        ("finding?", or_null(part("a.finding"))),
    ])
}

fn field() -> Fields {
    vec![
        ("offset", count()),
        ("len", count()),
        ("bytes", hex()),
        ("name", text()),
        ("says", text()),
        ("good", or_null(yes_or_no())),
    ]
}

fn counted(key: &'static str, of: Value) -> Fields {
    vec![(key, of), ("count", count()), ("bytes", count())]
}

fn trim() -> Fields {
    vec![("up_to", text()), ("before", count()), ("segments", count()), ("bytes", count())]
}

fn stats() -> Fields {
    ended(vec![
        ("terms", list_or_count("a.term")),
        ("older_terms", object(vec![("count", count()), ("bytes", count())])),
        ("kinds", list_or_count("a.kind")),
        ("sizes", list_or_count("a.size")),
        ("dropped", count()),
        ("damage", count()),
        ("trims", list_or_count("a.trim")),
    ])
}

fn diff() -> Fields {
    vec![
        ("exit", exit_code()),
        ("verdict", word(&["consistent", "inconsistent"])),
        ("common", or_null(span())),
        ("compared", count()),
        ("replicas", list_or_count("a.replica")),
        ("differences", list_or_count("a.difference")),
        ("findings", list_or_count("a.finding")),
    ]
}

fn replica() -> Fields {
    vec![
        ("dir", text()),
        ("log", or_null(hex())),
        ("verdict", verdict()),
        ("indexes", or_null(span())),
        ("term", count()),
        ("vote", or_null(count())),
        ("commit", count()),
        ("behind", count()),
        ("missing", count()),
    ]
}

fn difference() -> Fields {
    let breaks = object(vec![("what", text()), ("index", count()), ("says", text())]);
    vec![
        ("dirs", json!({ "type": "array", "items": text(), "minItems": 2, "maxItems": 2 })),
        ("index", count()),
        ("last", count()),
        ("terms", span()),
        ("committed", yes_or_no()),
        ("breaks", or_null(breaks)),
    ]
}

fn page() -> Fields {
    vec![
        ("code", text()),
        ("title", text()),
        ("cause", text()),
        ("danger", text()),
        ("action", text()),
    ]
}
