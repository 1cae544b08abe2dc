//! Replies as redis-cli prints them: with types and quotes for a person, plain for a program.

use std::fmt::Write as _;

use crate::resp::Reply;

/// For a terminal: `"text"`, `(integer) 1`, `(nil)`, `(error) …`, numbered lists.
#[must_use]
pub fn for_person(reply: &Reply) -> String {
    let mut out = String::new();
    person(reply, 0, &mut out);
    out
}

/// For a pipe: values as they are, one to a line.
#[must_use]
pub fn for_program(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    program(reply, &mut out);
    out
}

fn person(reply: &Reply, indent: usize, out: &mut String) {
    // Writing into a String cannot fail.
    let _ = match reply {
        Reply::Simple(text) | Reply::Scalar(text) => {
            writeln!(out, "{}", String::from_utf8_lossy(text))
        }
        Reply::Error(text) => writeln!(out, "(error) {}", String::from_utf8_lossy(text)),
        Reply::Integer(value) => writeln!(out, "(integer) {value}"),
        Reply::Bulk(bytes) => writeln!(out, "\"{}\"", bytes.escape_ascii()),
        Reply::Null => writeln!(out, "(nil)"),
        Reply::Array(items) if items.is_empty() => writeln!(out, "(empty array)"),
        Reply::Map(pairs) if pairs.is_empty() => writeln!(out, "(empty hash)"),
        Reply::Array(items) => {
            let width = items.len().to_string().len();
            for (n, item) in items.iter().enumerate() {
                let margin = if n == 0 { 0 } else { indent };
                let _ = write!(out, "{:margin$}{:>width$}) ", "", n + 1);
                person(item, indent + width + 2, out);
            }
            Ok(())
        }
        Reply::Map(pairs) => {
            let width = pairs.len().to_string().len();
            for (n, (name, value)) in pairs.iter().enumerate() {
                let margin = if n == 0 { 0 } else { indent };
                let mut key = String::new();
                person(name, 0, &mut key);
                let key = key.trim_end();
                let _ = write!(out, "{:margin$}{:>width$}# {key} => ", "", n + 1);
                person(value, indent + width + key.len() + 6, out);
            }
            Ok(())
        }
    };
}

fn program(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Simple(text) | Reply::Scalar(text) | Reply::Error(text) | Reply::Bulk(text) => {
            out.extend_from_slice(text);
            out.push(b'\n');
        }
        Reply::Integer(value) => out.extend_from_slice(format!("{value}\n").as_bytes()),
        Reply::Null => out.push(b'\n'),
        Reply::Array(items) => items.iter().for_each(|item| program(item, out)),
        Reply::Map(pairs) => {
            for (name, value) in pairs {
                program(name, out);
                program(value, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_types_and_quotes() {
        for (reply, shown) in [
            (Reply::OK, "OK\n"),
            (Reply::text("a\"\n\0"), "\"a\\\"\\n\\x00\"\n"),
            (Reply::Integer(-1), "(integer) -1\n"),
            (Reply::Null, "(nil)\n"),
            (Reply::error("ERR x"), "(error) ERR x\n"),
            (Reply::Array(vec![]), "(empty array)\n"),
            (Reply::Array(vec![Reply::text("a"), Reply::Null]), "1) \"a\"\n2) (nil)\n"),
            (
                Reply::Array(vec![Reply::Array(vec![Reply::Integer(1), Reply::Integer(2)])]),
                "1) 1) (integer) 1\n   2) (integer) 2\n",
            ),
            (Reply::Map(vec![(Reply::text("a"), Reply::Integer(1))]), "1# \"a\" => (integer) 1\n"),
        ] {
            assert_eq!(for_person(&reply), shown);
        }
    }

    #[test]
    fn a_program_sees_the_bytes() {
        let reply = Reply::Array(vec![Reply::Bulk(vec![b'a', 0xff].into()), Reply::Null]);
        assert_eq!(for_program(&reply), b"a\xff\n\n");
        let reply = Reply::Map(vec![(Reply::text("a"), Reply::Integer(1))]);
        assert_eq!(for_program(&reply), b"a\n1\n");
    }
}
