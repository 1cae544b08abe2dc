//! What is printed for programs is what `wal-tool schema` says: every object that any test makes the
//! tool print is held against it, and the check itself against another implementation.

use std::{
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Deserializer, Value, json};

use crate::{TOOL, code, directories as made, run, text};

/// The schema, printed once.
fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let output = Command::new(TOOL).arg("schema").output().expect("runs");
        serde_json::from_slice(&output.stdout).expect("JSON")
    })
}

/// Panics where `stdout` of a run that prints for programs is not what the schema says.
pub(crate) fn hold(arguments: &str, stdout: &[u8]) {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    let format = words.windows(2).find(|two| two[0] == "--format").map(|two| two[1]);
    let json = words.contains(&"--json") || format == Some("json");
    let bare = words.contains(&"--payload");
    let stream = (words.contains(&"export") && !bare) || format == Some("ndjson");
    if (!json && !stream) || words.contains(&"--help") || words.first() == Some(&"schema") {
        return;
    }
    let mut count = 0;
    for object in Deserializer::from_slice(stdout).into_iter::<Value>() {
        let object = object.unwrap_or_else(|e| panic!("{arguments}: {e}"));
        if let Err(why) = check(&object) {
            panic!("{arguments}: not what the schema says: {why}\n{object:#}");
        }
        count += 1;
    }
    assert!(stream || count <= 1, "{arguments}: {count} objects");
}

/// Holds an object against the definition that its `schema` or `row` names.
fn check(object: &Value) -> Result<(), String> {
    let defs = schema()["$defs"].as_object().expect("definitions");
    let named = |definition: &Value| match &object["schema"] {
        Value::String(_) => definition["properties"]["schema"]["const"] == object["schema"],
        _ => definition["properties"]["schema"].is_null(),
    };
    let alone = schema()["anyOf"].as_array().expect("a list");
    let alone = alone.iter().map(|part| {
        let name = part["$ref"].as_str().and_then(|at| at.strip_prefix("#/$defs/"));
        &defs[name.expect("a definition")]
    });
    let mut why = "no definition is of its kind".to_owned();
    for definition in alone.filter(|definition| named(definition)) {
        match fits(object, definition, "") {
            Ok(()) => return Ok(()),
            Err(e) => why = e,
        }
    }
    Err(why)
}

/// The part of JSON Schema that ours uses; another keyword is a panic, not a pass. An object that
/// names properties is closed here.
fn fits(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{at}: {what}"));
    for (keyword, wants) in schema.as_object().expect("a schema") {
        match keyword.as_str() {
            "$ref" => {
                let name = wants.as_str().and_then(|name| name.strip_prefix("#/$defs/"));
                fits(value, &self::schema()["$defs"][name.expect("local")], at)?;
            }
            "anyOf" => {
                let mut ways = wants.as_array().expect("a list").iter();
                let mut last = Ok(());
                if !ways.any(|way| {
                    last = fits(value, way, at);
                    last.is_ok()
                }) {
                    last?;
                }
            }
            "const" if value != wants => return wrong(&format!("not {wants}")),
            "enum" if !wants.as_array().expect("a list").contains(value) => {
                return wrong(&format!("{value} is none of {wants}"));
            }
            "type" => is_of(value, wants.as_str().expect("one type"), at)?,
            "minimum" if value.as_f64() < wants.as_f64() => return wrong("too small"),
            "pattern" => pattern(value, wants.as_str().expect("text"), at)?,
            "minItems"
                if value.as_array().is_some_and(|all| (all.len() as u64) < number(wants)) =>
            {
                return wrong("too short");
            }
            "maxItems" if value.as_array().is_some_and(|all| all.len() as u64 > number(wants)) => {
                return wrong("too long");
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(item, wants, &format!("{at}/{i}"))?;
                }
            }
            "required" => {
                let mut names = wants.as_array().expect("a list").iter();
                if let Some(name) =
                    names.find(|name| value.get(name.as_str().expect("text")).is_none())
                {
                    return wrong(&format!("{name} is missing"));
                }
            }
            "properties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    let Some(wants) = wants.get(name) else {
                        return wrong(&format!("{name} is not in the schema"));
                    };
                    fits(item, wants, &format!("{at}/{name}"))?;
                }
            }
            "const" | "enum" | "minimum" | "minItems" | "maxItems" => {}
            other => panic!("the schema says {other}, and this test does not know it"),
        }
    }
    Ok(())
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn is_of(value: &Value, kind: &str, at: &str) -> Result<(), String> {
    let is = match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        other => panic!("no type {other}"),
    };
    if is { Ok(()) } else { Err(format!("{at}: {value} is no {kind}")) }
}

fn pattern(value: &Value, pattern: &str, at: &str) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    let of = |text: &str, more: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(char::from(byte)))
    };
    let good = match pattern {
        "^([0-9a-f][0-9a-f])*$" => {
            text.len().is_multiple_of(2)
                && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        }
        "^[A-Za-z0-9+/]*={0,2}$" => {
            let bare = text.trim_end_matches('=');
            text.len() - bare.len() <= 2 && of(bare, "+/")
        }
        "^W[1-6][0-9][0-9]$" => hardlog::inspect::Code::parse(text).is_some(),
        other => panic!("the schema says {other}, and this test does not know it"),
    };
    if good { Ok(()) } else { Err(format!("{at}: {text:?} is not {pattern}")) }
}

/// Objects of many kinds: those of the kept samples and codes.
fn kept() -> Vec<Value> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut all = Vec::new();
    for dir in ["samples", "codes"] {
        for entry in fs::read_dir(tests.join(dir)).expect("listed") {
            let session = fs::read_to_string(entry.expect("read").path()).expect("text");
            for part in session.split("$ wal-tool ") {
                let (first, rest) = part.split_once('\n').unwrap_or_default();
                if !first.contains('|') && (first.contains("json") || first.starts_with("export")) {
                    let output = rest.split("$ echo").next().expect("a part");
                    let objects = Deserializer::from_str(output).into_iter::<Value>();
                    all.extend(objects.map(|object| object.expect("JSON")));
                }
            }
        }
    }
    assert!(all.len() > 60, "only {} objects", all.len());
    all
}

/// The same object with one thing wrong, for each thing.
fn spoilt(object: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let fields = object.as_object().expect("an object");
    for name in fields.keys() {
        let mut less = object.clone();
        less.as_object_mut().expect("an object").remove(name);
        all.push(less);
        for other in [json!(-1), json!("?"), json!({ "x": 1 }), json!([1, 2, 3]), json!(null)] {
            let mut changed = object.clone();
            changed[name] = other;
            all.push(changed);
        }
    }
    let mut more = object.clone();
    more["surplus"] = json!(1);
    all.push(more);
    all
}

#[test]
fn an_object_that_says_anything_else_is_noticed() {
    for object in kept() {
        assert_eq!(check(&object), Ok(()), "{object:#}");
        let mut more = object.clone();
        more["surplus"] = json!(1);
        assert!(check(&more).is_err(), "{object:#}");
        // Without what names it, or one of its numbers, it is another.
        let spoilt = spoilt(&object);
        let passed = spoilt.iter().filter(|object| check(object).is_ok()).count();
        assert!(passed * 3 < spoilt.len(), "{passed} of {}: {object:#}", spoilt.len());
    }
}

#[test]
fn another_implementation_of_json_schema_says_the_same() {
    const PYTHON: &str = "/usr/bin/python3";
    let there = Command::new(PYTHON).args(["-c", "import jsonschema"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        assert!(env::var_os("HARDLOG_REQUIRE_PROGRAMS").is_none(), "no python3-jsonschema");
        eprintln!("skipped: there is no python3-jsonschema");
        return;
    }
    // Of each kind of object a few, whole and spoilt.
    let mut seen = std::collections::BTreeMap::new();
    let mut objects = Vec::new();
    for object in kept() {
        let kind = format!("{}{}", object["schema"], object["row"]);
        let count = seen.entry(kind).or_insert(0);
        *count += 1;
        if *count <= 2 {
            objects.extend(spoilt(&object));
            objects.push(object);
        }
    }
    let input = json!({ "schema": schema(), "objects": objects });
    let mut python = Command::new(PYTHON)
        .args(["-c", SECOND_OPINION])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut stdin = python.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || stdin.write_all(input.to_string().as_bytes()));
    let output = python.wait_with_output().expect("ends");
    writer.join().expect("joins").expect("is read");
    assert!(output.status.success(), "the schema is not valid");
    let theirs: Vec<bool> = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(theirs.len(), objects.len());
    for (object, theirs) in objects.iter().zip(theirs) {
        assert_eq!(check(object).is_ok(), theirs, "{:?} {object:#}", check(object));
    }
}

/// Closes the objects, as the test does, and says of each whether it fits.
const SECOND_OPINION: &str = r##"
import json, sys
from jsonschema import Draft202012Validator
given = json.load(sys.stdin)
Draft202012Validator.check_schema(given["schema"])
def close(part):
    if isinstance(part, dict):
        for inner in part.values(): close(inner)
        if "properties" in part: part["additionalProperties"] = False
    elif isinstance(part, list):
        for inner in part: close(inner)
close(given["schema"])
validator = Draft202012Validator(given["schema"])
json.dump([validator.is_valid(one) for one in given["objects"]], sys.stdout)
"##;

/// What no other test prints.
#[test]
fn failures_and_the_rest_are_objects_of_the_schema_too() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    made::lay(&made::rotten(), &home.join("n1"));
    made::lay(&made::healthy(), &home.join("n2"));
    fs::write(home.join("n1/.lab"), "").expect("writes");
    let cases = [
        ("verify missing --json", 4),
        ("dump missing --json", 4),
        ("dump n1 --segment 99 --format json", 2),
        ("dump n1 --json", 3),
        ("dump n2 650..700 --json", 0),
        ("dump n1 --format ndjson --batches --value hex", 3),
        ("dump n1 --format json --batches --decode raft-kv --tail 5", 0),
        ("dump n1 --follow --json", 2),
        ("get n1 200 --json", 3),
        ("get n2 200 --json --value utf8 --decode raft-kv", 0),
        ("get n1 9999 --json", 2),
        ("stats n1 --format ndjson", 3),
        ("status n1 --json", 0),
        ("explain W202 --json", 0),
        ("explain all --json", 0),
        ("explain all --format ndjson", 0),
        ("explain W999 --json", 2),
        ("truncate n2 --after 595 --json", 0),
        ("export n1", 3),
        ("export n2", 0),
        ("snapshot show n1 --json", 0),
        ("snapshot verify n1 --json", 0),
        ("snapshot ls n1 --json", 0),
        ("snapshot export n1", 0),
        ("corrupt n1 --kind bit --json", 0),
        ("corrupt n2 --kind bit --json", 6),
        ("backup n2 kept --json", 0),
        ("restore kept back --json", 0),
        ("bundle n1 --json", 3),
        ("bundle n2 --redact --json", 0),
        ("recover n1 --output saved --json", 3),
        ("bench-disk . --seconds 0.05 --json", 0),
        ("--json verify", 2),
        ("--json verify n2", 0),
        ("n2 verify n2 --json", 2),
        ("verify n1 --format=json --nonsense", 2),
        ("verify --help --json", 0),
    ];
    for (arguments, exit) in cases {
        let output = crate::tool(home, arguments);
        assert_eq!(code(&output), exit, "{arguments}: {output:?}");
        assert!(!output.stdout.is_empty(), "{arguments} prints nothing");
    }
    fs::write(home.join("log.ndjson"), run(home, "export n2").stdout).expect("writes");
    assert_eq!(code(&crate::tool(home, "import new log.ndjson --json")), 0);
    let digest = text(&run(home, "repair n1 --json").stdout);
    let digest: Value = serde_json::from_str(&digest).expect("JSON");
    let digest = digest["digest"].as_str().expect("a digest");
    let again = format!("repair n1 --apply --plan-digest {digest} --json");
    assert_eq!(code(&crate::tool(home, &again)), 6, "the loss is not accepted");
}

#[test]
fn a_part_of_the_schema_stands_on_its_own() {
    let home = Path::new(".");
    for name in ["verify", "wal-tool.verify/1"] {
        let output = run(home, &format!("schema {name}"));
        let part: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(part["$ref"], "#/$defs/verify");
        assert_eq!(part["$defs"]["log"], schema()["$defs"]["log"]);
        assert!(part["$defs"]["plan"].is_null(), "it holds what it does not need");
    }
    assert_eq!(code(&run(home, "schema nonsense")), 2);
}
