//! `schema`: what every output for programs looks like, as one JSON Schema (draft 2020-12).
//!
//! ```text
//!   words (below) ─▶ look, rows, change: one definition for each object ─▶ document ─▶ stdout
//! ```
//!
//! Above: `main`, and the tests, which hold every object that any test makes the tool print against
//! it. Below: nothing: the schema is written down here and not derived, so that a field that comes
//! or goes by accident is noticed.
//! INVARIANT: objects are complete: every field is there, absent things are null, but for the few
//! whose name ends with `?` here. They are open, since a later version may say more; the tests close
//! them, so that no field is printed that is not named here.

mod change;
mod look;
mod rows;

use serde_json::{Map, Value, json};

use crate::{
    exit::{self, Ended, Failure},
    out::Out,
};

/// What `schema` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// Only this object and what it is made of: `verify`, `finding`, `dump.entry`, …; all of them
    /// without it.
    pub(crate) name: Option<String>,
}

/// One object by its name.
type Definition = (&'static str, Value);

/// Prints the schema; it is JSON whatever the format.
pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let schema = match &args.name {
        None => document(None),
        Some(name) => {
            let short = name.strip_prefix("wal-tool.").unwrap_or(name);
            let short = short.strip_suffix("/1").unwrap_or(short);
            if !definitions().iter().any(|(known, _)| *known == short) {
                let all: Vec<&str> = definitions().iter().map(|(name, _)| *name).collect();
                let all = all.join(", ");
                return Err(Failure::Usage(format!("no object {name}; there are {all}")));
            }
            document(Some(short))
        }
    };
    out.raw(&format!("{schema:#}\n"))?;
    Ok(exit::CLEAN)
}

fn definitions() -> Vec<Definition> {
    [look::parts(), look::alone(), rows::parts(), rows::alone(), change::parts(), change::alone()]
        .concat()
}

/// Everything, or what one object needs; a document of its own either way.
fn document(only: Option<&str>) -> Value {
    let definitions = definitions();
    let all: Map<String, Value> =
        definitions.iter().map(|(name, object)| ((*name).to_owned(), object.clone())).collect();
    let mut out = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What wal-tool prints with --format json and ndjson, and what it reads",
        "description": "Schemas wal-tool.NAME/1: fields may be added under the same number; \
            a field that is taken away or changes its meaning raises it.",
    });
    match only {
        Some(name) => {
            out["$ref"] = json!(pointer(name));
            out["$defs"] = Value::Object(needed(name, &all));
        }
        None => {
            let alone = [look::alone(), rows::alone(), change::alone()].concat();
            out["anyOf"] = alone.iter().map(|(name, _)| part(name)).collect();
            out["$defs"] = Value::Object(all);
        }
    }
    out
}

/// `name` and every definition that it reaches.
fn needed(name: &str, all: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    let mut open = vec![name.to_owned()];
    while let Some(name) = open.pop() {
        let Some(object) = all.get(&name).filter(|_| !found.contains_key(&name)) else { continue };
        let text = object.to_string();
        open.extend(all.keys().filter(|key| text.contains(&part(key).to_string())).cloned());
        found.insert(name, object.clone());
    }
    found
}

fn pointer(name: &str) -> String {
    format!("#/$defs/{name}")
}

/// Whatever another definition says.
fn part(name: &str) -> Value {
    json!({ "$ref": pointer(name) })
}

/// A number that is never negative.
fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn yes_or_no() -> Value {
    json!({ "type": "boolean" })
}

/// Eight digits of a CRC, or more of something longer.
fn hex() -> Value {
    json!({ "type": "string", "pattern": "^([0-9a-f][0-9a-f])*$" })
}

fn base64() -> Value {
    json!({ "type": "string", "pattern": "^[A-Za-z0-9+/]*={0,2}$" })
}

/// One of some words.
fn word(words: &[&str]) -> Value {
    json!({ "enum": words })
}

fn list(of: Value) -> Value {
    json!({ "type": "array", "items": of })
}

/// First and last, both included.
fn span() -> Value {
    json!({ "type": "array", "items": count(), "minItems": 2, "maxItems": 2 })
}

fn or_null(of: Value) -> Value {
    json!({ "anyOf": [of, { "type": "null" }] })
}

fn any(of: &[Value]) -> Value {
    json!({ "anyOf": of })
}

fn exit_code() -> Value {
    json!({ "enum": [0, 1, 2, 3, 4, 5, 6, 7, 130] })
}

/// What `Outcome` is called in lower case.
fn verdict() -> Value {
    word(&["clean", "heals on open", "damaged", "unreadable", "newer format"])
}

/// An object; a field whose name ends with `?` may be left out.
fn object(fields: Vec<(&str, Value)>) -> Value {
    let must: Vec<&str> =
        fields.iter().map(|(name, _)| *name).filter(|name| !name.ends_with('?')).collect();
    let all: Map<String, Value> = fields
        .iter()
        .map(|(name, of)| (name.trim_end_matches('?').to_owned(), of.clone()))
        .collect();
    json!({ "type": "object", "properties": all, "required": must })
}

/// An object that stands alone and says what it is.
fn alone(name: &'static str, fields: Vec<(&str, Value)>) -> Definition {
    let mut all = vec![("schema", json!({ "const": format!("wal-tool.{name}/1") }))];
    all.extend(fields);
    (name, object(all))
}

/// What `dir`, `exit` and the like are in nearly every object.
fn ended(fields: Vec<(&'static str, Value)>) -> Vec<(&'static str, Value)> {
    let mut all = vec![("exit", exit_code()), ("dir", text())];
    all.extend(fields);
    all
}

/// A list, or in ndjson, where its rows stood on lines of their own, how many they were.
fn list_or_count(name: &str) -> Value {
    any(&[list(part(name)), count()])
}
