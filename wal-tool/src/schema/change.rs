//! What the commands print that write: plans and their application, moving, drills, and the disk.

use serde_json::Value;

use super::{
    Definition, alone as named, count, ended, exit_code, hex, list, object, or_null, part, text,
    verdict, word,
};

type Fields = Vec<(&'static str, Value)>;

/// What stands inside others.
pub(super) fn parts() -> Vec<Definition> {
    vec![
        ("window", object(vec![("first", count()), ("next", count())])),
        (
            "loss",
            object(vec![
                ("first", count()),
                ("last", or_null(count())),
                ("range", text()),
                ("complete", count()),
                ("committed", count()),
            ]),
        ),
        (
            "a.file",
            object(vec![
                ("dir", word(&["", "tmp", "snapshots", "quarantine"])),
                ("name", text()),
                ("len", count()),
                ("crc", hex()),
            ]),
        ),
        ("bar", object(vec![("below_us", count()), ("count", count())])),
    ]
}

/// What stands in a document of its own.
pub(super) fn alone() -> Vec<Definition> {
    let mut repaired = plan();
    repaired.push(("backup", or_null(text())));
    let mut backup = vec![("exit", exit_code()), ("dir", text()), ("to", text())];
    backup.extend(manifest());
    vec![
        named("plan", plan()),
        named("repaired", repaired),
        named("recovered", recovered()),
        named("import", ended(vec![("entries", count())])),
        named(
            "snapshot.import",
            ended(vec![
                ("id", part("entry-id")),
                ("became", word(&["replaced", "marked", "new log", "was there"])),
            ]),
        ),
        named("manifest", manifest()),
        named("backup", backup),
        named("bundle", bundle()),
        named(
            "restore",
            ended(vec![("verdict", verdict()), ("files", count()), ("bytes", count())]),
        ),
        named("corrupt", corrupt()),
        named("bench-disk", bench()),
    ]
}

fn plan() -> Fields {
    let yes_or_no = super::yes_or_no;
    ended(vec![
        ("verdict", verdict()),
        ("digest", text()),
        ("steps", list(text())),
        ("hopeless", or_null(text())),
        ("before", or_null(part("window"))),
        ("after", or_null(part("window"))),
        ("commit", count()),
        ("loss", or_null(part("loss"))),
        ("trimmed", or_null(part("loss"))),
        ("accept_loss", or_null(text())),
        ("unproven", or_null(count())),
        ("maybe_lost", or_null(count())),
        ("vows_doubtful", yes_or_no()),
        ("slots_doubtful", yes_or_no()),
        ("ways_out", list(text())),
        ("bytes", count()),
        ("findings", list(part("a.finding"))),
    ])
}

fn recovered() -> Fields {
    ended(vec![
        ("output", text()),
        ("first", or_null(count())),
        ("next", or_null(count())),
        ("loss", or_null(text())),
        ("unproven", or_null(count())),
        ("quarantined", list(text())),
        ("verdict", verdict()),
    ])
}

fn manifest() -> Fields {
    vec![("log", or_null(hex())), ("verdict", verdict()), ("files", list(part("a.file")))]
}

fn bundle() -> Fields {
    let file = object(vec![("name", text()), ("len", count())]);
    ended(vec![
        ("verdict", verdict()),
        ("file", text()),
        ("version", text()),
        ("redacted", super::yes_or_no()),
        ("files", list(file)),
        ("left_out", list(text())),
        // Not in the archive itself, which cannot know it.
        ("bytes?", count()),
    ])
}

fn corrupt() -> Fields {
    vec![
        ("exit", exit_code()),
        ("file", text()),
        ("offset", count()),
        ("bytes", count()),
        ("what", text()),
    ]
}

fn bench() -> Fields {
    ended(vec![
        ("bytes", count()),
        ("count", count()),
        ("p50_us", count()),
        ("p99_us", count()),
        ("max_us", count()),
        ("sync_p50_us", count()),
        ("file_system", or_null(text())),
        ("device", or_null(text())),
        ("rotating", or_null(super::yes_or_no())),
        ("verdict", word(&["no sync", "fit", "slow", "unfit"])),
        ("says", text()),
        ("election_timeout_ms", or_null(count())),
        ("histogram", list(part("bar"))),
    ])
}
