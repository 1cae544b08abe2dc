//! What streams: the rows of `dump` and the lines of `export`.

use serde_json::{Value, json};

use super::{
    Definition, alone as named, any, base64, count, ended, exit_code, hex, list, look, object,
    or_null, part, text, word, yes_or_no,
};

type Fields = Vec<(&'static str, Value)>;

fn is(word: &str) -> Value {
    json!({ "const": word })
}

/// The rows, without a schema: a log is long. `row` says which it is.
pub(super) fn parts() -> Vec<Definition> {
    let names = ["dump.entry", "dump.batch", "dump.change", "dump.damage"];
    let slot = vec![("key", count()), ("promise", yes_or_no()), ("base64", base64())];
    vec![("dump.row", any(&names.map(part))), ("slot", object(slot))]
}

/// What stands on a line, or in a document, of its own.
pub(super) fn alone() -> Vec<Definition> {
    let head = ended(vec![
        // As one object the rows and how many they are; at the end of ndjson the number alone.
        ("rows", any(&[list(part("dump.row")), count()])),
        ("row_count?", count()),
        ("error?", text()),
    ]);
    let mut damage = look::finding();
    damage.push(("row", is("damage")));
    vec![
        named("dump", head),
        ("dump.entry", entry()),
        ("dump.batch", batch()),
        ("dump.damage", object(damage)),
        ("dump.change", any(&changes())),
        named("export", header()),
        ("export.row", any(&export_rows())),
        named("export.end", end()),
        named("snapshot.export", vec![("row", is("header")), ("id", part("entry-id"))]),
        named("snapshot.export.end", end().into_iter().filter(|f| f.0 != "entries").collect()),
    ]
}

fn entry() -> Value {
    object(vec![
        ("row", is("entry")),
        ("index", count()),
        ("term", count()),
        ("tag", count()),
        ("segment", count()),
        ("offset", count()),
        ("len", count()),
        ("sound", yes_or_no()),
        ("base64?", base64()),
        ("hex?", hex()),
        ("utf8?", text()),
        ("decoded?", text()),
    ])
}

fn batch() -> Value {
    object(vec![
        ("row", word(&["state", "marker", "batch"])),
        ("segment", count()),
        ("offset", count()),
        ("len", count()),
        ("sequence", count()),
        ("durable", count()),
        ("sound", yes_or_no()),
    ])
}

/// What a batch changes beside entries.
fn changes() -> Vec<Value> {
    let change = |row: &str, fields: Fields| {
        let mut all = vec![("row", is(row)), ("segment", count()), ("offset", count())];
        all.extend(fields);
        object(all)
    };
    vec![
        change(
            "hard state",
            vec![("term", count()), ("vote", or_null(count())), ("commit", count())],
        ),
        change("meta", vec![("key", count()), ("promise", yes_or_no()), ("len", count())]),
        change("truncate", vec![("from", count())]),
        change("trim", vec![("first", count())]),
        change("reset", vec![("first", count())]),
        change("snapshot mark", vec![("id", part("entry-id")), ("size", count()), ("crc", hex())]),
        change("refill", vec![("id", part("entry-id"))]),
        change("loss acknowledged", vec![]),
        change("unknown", vec![]),
    ]
}

fn header() -> Fields {
    vec![
        ("row", is("header")),
        ("first", count()),
        ("next", count()),
        ("prev", or_null(part("entry-id"))),
        ("term", count()),
        ("vote", or_null(count())),
        ("commit", count()),
        ("meta", list(part("slot"))),
        ("snapshot", or_null(part("entry-id"))),
        ("maybe_lost", or_null(count())),
    ]
}

fn export_rows() -> Vec<Value> {
    vec![
        object(vec![("row", is("snapshot")), ("len", count()), ("meta", base64())]),
        object(vec![("row", is("piece")), ("base64", base64())]),
        object(vec![
            ("row", is("entry")),
            ("index", count()),
            ("term", count()),
            ("tag", count()),
            ("base64", base64()),
        ]),
        object(vec![("row", is("missing")), ("first", count()), ("last", count())]),
    ]
}

fn end() -> Fields {
    vec![
        ("row", is("end")),
        ("exit", exit_code()),
        ("entries", count()),
        ("bytes", count()),
        ("crc", hex()),
    ]
}
