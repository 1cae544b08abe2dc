//! The page of a timeline: one file that loads nothing, with the trace inside.
//!
//! Above: `write`, which hands rows in. Below: the files of `page/`, put together here.
//!
//! A trace is not trusted. Two walls stand between it and the browser: rows are JSON inside an
//! element that is not run, with every character escaped that could end it; and the page's policy
//! lets only the script with this very hash run, and nothing be loaded. The two hashes are constants
//! that a test holds against the files, so that whoever writes pages needs no hash function.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::row::{Place, Row};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const MODEL: &str = include_str!("page/model.js");
const DRAW: &str = include_str!("page/draw.js");
const ARROWS: &str = include_str!("page/arrows.js");
const TABLE: &str = include_str!("page/table.js");
const APP: &str = include_str!("page/app.js");
const INPUT: &str = include_str!("page/input.js");
/// SHA-256 of the script and of the style, in base64, as a policy names them. A test says what they
/// have to be when `page/` was changed.
const SCRIPT_HASH: &str = "CTyLbE20uaAM88++RR1gJM2EV1d2uMO8fMBCY3hFhv0=";
const STYLE_HASH: &str = "Z2mS0aJbFFvE+QkkpIj02nAj7PMHXcN81f9GaSmku/w=";
/// Characters of a row's words that the page gets.
const WORDS_MAX: usize = 4000;

/// A page that is being written.
pub(crate) struct Page<W: Write> {
    to: W,
    rows: u64,
    /// What stands behind the rows.
    rest: String,
}

impl<W: Write> Page<W> {
    /// Writes everything that stands in front of the rows.
    pub(crate) fn begin(mut to: W, title: &str) -> io::Result<Self> {
        let script = script();
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{SCRIPT_HASH}'; style-src 'sha256-{STYLE_HASH}'; img-src data:; \
             base-uri 'none'; form-action 'none'"
        );
        // Text that came from outside is filled in last: what it says is looked at no more.
        let page = PAGE.replace("@POLICY@", &policy).replace("@STYLE@", STYLE);
        let page = page.replace("@SCRIPT@", &script);
        let (front, rest) = page.split_once("@ROWS@").unwrap_or((&page, ""));
        let (before, after) = front.split_once("@TITLE@").unwrap_or((front, ""));
        write!(to, "{before}{}{after}[", text_escaped(title))?;
        Ok(Self { to, rows: 0, rest: rest.to_owned() })
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, row: &Row) -> io::Result<()> {
        let comma = if self.rows > 0 { ",\n" } else { "\n" };
        self.rows += 1;
        let object = Value::Object(object(row)).to_string();
        write!(self.to, "{comma}{}", script_escaped(&object))
    }

    /// Writes what is known only now, and the rest.
    pub(crate) fn end(mut self, head: &Value) -> io::Result<()> {
        let (before, after) = self.rest.split_once("@HEAD@").unwrap_or((&self.rest, ""));
        write!(self.to, "]{before}{}{after}", script_escaped(&head.to_string()))?;
        self.to.flush()
    }
}

/// All parts of the script; nothing of them is visible outside.
fn script() -> String {
    let parts = [MODEL, DRAW, ARROWS, TABLE, APP, INPUT].join("\n");
    format!("(() => {{\n'use strict';\n{parts}\n}})();")
}

/// The row as the page reads it: the event's own fields, and behind them those of every format.
fn object(row: &Row) -> Map<String, Value> {
    let mut object = row.fields.clone();
    for key in ["t", "n", "q", "e", "c", "x", "k", "r", "a"] {
        object.remove(key);
    }
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    if let Some(micros) = row.micros {
        put("t", json!(micros));
    }
    match row.place {
        Place::Node(node) => put("n", json!(node)),
        Place::World => put("n", json!("world")),
        Place::Wide => put("n", Value::Null),
    };
    put("e", json!(row.kind));
    put("c", json!(row.topic));
    put("x", json!(row.text.chars().take(WORDS_MAX).collect::<String>()));
    if row.fields.is_empty() {
        put("k", json!(row.clock));
        if let Some(term) = row.term {
            put("term", json!(term));
        }
    }
    if let Some(role) = row.role {
        put("r", json!(role.name()));
    }
    if row.alarm || row.broken {
        put("a", json!(true));
    }
    object
}

/// JSON as it may stand inside `<script>`: the characters that mean something to HTML, and the two
/// that once ended a line of a script, as escapes that JSON reads back.
fn script_escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text as it may stand between tags.
fn text_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 in base64, as a policy names a script.
    fn hash(text: &str) -> String {
        use sha2::{Digest, Sha256};
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let digest = Sha256::digest(text.as_bytes());
        let mut encoded = String::with_capacity(44);
        for chunk in digest.chunks(3) {
            let bytes = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
            let bits = bytes[0] << 16 | bytes[1] << 8 | bytes[2];
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
                encoded.push(if place <= chunk.len() { char::from(digit) } else { '=' });
            }
        }
        encoded
    }

    #[test]
    fn the_hashes_are_those_of_the_files() {
        assert_eq!(hash(""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        assert_eq!(hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
        let (script, style) = (hash(&script()), hash(STYLE));
        assert!(
            (SCRIPT_HASH, STYLE_HASH) == (&*script, &*style),
            "const SCRIPT_HASH: &str = \"{script}\";\nconst STYLE_HASH: &str = \"{style}\";"
        );
    }

    #[test]
    fn nothing_in_a_row_can_end_the_element_that_holds_it() {
        let hostile = "</script><script>alert(1)</script><!-- & \u{2028} ]]>";
        let mut row = Row::wide(1, "note", hostile.to_owned());
        row.fields.insert(hostile.to_owned(), json!([hostile, { "e": "</script>" }]));
        let mut bytes = Vec::new();
        let mut page = Page::begin(&mut bytes, hostile).unwrap();
        page.row(&row).unwrap();
        page.end(&json!({ "title": hostile })).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches("</script>").count(), 3, "rows, head and script end once each");
        assert_eq!(text.matches("alert(1)").count(), 5);
        assert!(!text.contains("<script>alert") && text.contains("&lt;script&gt;alert"));
        let (_, rows) = text.split_once("id=\"rows\">").unwrap();
        let (rows, _) = rows.split_once("</script>").unwrap();
        // `</script ` ends the element too, so each of them has to go.
        assert!(!rows.contains(['<', '>', '&', '\u{2028}']), "{rows}");
        let rows: Value = serde_json::from_str(rows).unwrap();
        assert_eq!(rows[0]["x"], hostile);
        assert_eq!(rows[0][hostile][0], hostile);
    }

    #[test]
    fn the_page_is_whole_and_loads_nothing() {
        let mut bytes = Vec::new();
        let page = Page::begin(&mut bytes, "@ROWS@ @HEAD@ @SCRIPT@").unwrap();
        page.end(&json!({})).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for word in ["http://", "https://", "src=", "@STYLE@", "@POLICY@", "@import", "url("] {
            assert!(!text.contains(word), "{word}");
        }
        assert_eq!(text.matches("@SCRIPT@").count(), 1, "that of the title");
        assert!(text.contains(&hash(&script())) && text.ends_with("</html>\n"));
    }
}
