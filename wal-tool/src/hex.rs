//! `hex`: the bytes of a header or a batch, each field named.

use std::{io, path::PathBuf};

use hardlog::inspect::{self, Field, Good};
use serde_json::{Value, json};

use crate::{
    args::Format,
    exit::{self, CLEAN, DAMAGED, Ended, Failure},
    json, number,
    out::{COLUMNS, Out, Tone},
    source::Source,
};

/// What `hex` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory, or one segment file.
    pub(crate) dir: PathBuf,
    /// A segment and an offset in it: `7` shows the header of segment 7, `7@0x2000` the batch that
    /// stands at that offset or around it.
    #[arg(value_parser = place, value_name = "SEGMENT[@OFFSET]")]
    pub(crate) place: (u64, Option<u64>),
}

/// Reads `7`, `7@8192` or `7@0x2000`.
fn place(text: &str) -> Result<(u64, Option<u64>), String> {
    let number = |text: &str| {
        let parsed = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        parsed.map_err(|e| format!("{text:?}: {e}"))
    };
    match text.split_once('@') {
        Some((segment, offset)) => Ok((number(segment)?, Some(number(offset)?))),
        None => Ok((number(text)?, None)),
    }
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let source = Source::open(&args.dir)?;
    let (segment, offset) = args.place;
    let found = inspect::look(source.fs())?;
    if !found.segments.contains_key(&segment) {
        let dir = args.dir.display();
        return Err(Failure::Usage(format!("there is no segment {segment} in {dir}")));
    }
    let fields = inspect::hex(source.fs(), segment, offset)?;
    let bad = fields.iter().any(|field| field.good == Good::No);
    let code = if bad { DAMAGED } else { CLEAN };
    let summary = |fields: Value| {
        json!({
            "schema": "wal-tool.hex/1",
            "exit": code,
            "dir": args.dir.display().to_string(),
            "segment": segment,
            "fields": fields,
        })
    };
    match out.format {
        Format::Human => human(&fields, out)?,
        Format::Json => out.object(&summary(fields.iter().map(object).collect()))?,
        Format::Ndjson => {
            for field in &fields {
                out.object(&json::tagged("wal-tool.field/1", object(field)))?;
            }
            out.object(&summary(json!(fields.len())))?;
        }
    }
    Ok(code)
}

fn object(field: &Field) -> Value {
    let good = match field.good {
        Good::Yes => Some(true),
        Good::No => Some(false),
        Good::Unknown => None,
    };
    json!({
        "offset": field.offset,
        "len": field.len,
        "bytes": number::hex(&field.bytes),
        "name": field.name,
        "says": field.says,
        "good": good,
    })
}

fn human(fields: &[Field], out: &mut Out) -> io::Result<()> {
    /// Bytes on one line.
    const ROW: usize = 8;
    /// The column behind offset, bytes and name.
    const SAYS_AT: usize = 58;
    for field in fields {
        if field.len == 0 {
            let title = out.toned(Tone::Strong, &field.name);
            let sign = if field.good == Good::No { "✘ " } else { "" };
            out.line(&format!("{:#08x}  {title}  {sign}{}", field.offset, field.says))?;
            continue;
        }
        let mut rows = field
            .bytes
            .chunks(ROW)
            .map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
        let secret = ["··"; ROW].join(" ");
        let first = rows.next().unwrap_or(secret);
        let sign = match field.good {
            Good::Yes => out.toned(Tone::Good, " ✔"),
            Good::No => out.toned(Tone::Bad, " ✘"),
            Good::Unknown => String::new(),
        };
        let offset = out.toned(Tone::Quiet, &format!("{:#08x}", field.offset));
        let mut says = format!("{}{sign}", field.says);
        let room = COLUMNS.saturating_sub(SAYS_AT);
        // What does not fit behind the name stands below it.
        let below =
            if number::columns(&says) > room { std::mem::take(&mut says) } else { String::new() };
        let text = format!("{offset}  {first:<23}  {:<22} {says}", field.name);
        out.line(text.trim_end())?;
        let second = rows.next();
        if second.is_some() || !below.is_empty() {
            let text = format!("          {:<23}  {below}", second.unwrap_or_default());
            out.line(text.trim_end())?;
        }
        for row in rows {
            out.line(&format!("          {row}"))?;
        }
        if field.len > field.bytes.len() as u64 && !field.bytes.is_empty() {
            let more = number::grouped(field.len - field.bytes.len() as u64);
            out.line(&format!("          … {more} more bytes"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_printed() {
        assert_eq!(place("7"), Ok((7, None)));
        assert_eq!(place("7@0x2000"), Ok((7, Some(8192))));
        assert_eq!(place("7@8192"), Ok((7, Some(8192))));
        for bad in ["", "x", "7@", "7@0xg", "@5"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
