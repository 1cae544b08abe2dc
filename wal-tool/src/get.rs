//! `get`: one entry, with everything that is known of it.

use std::{io, ops::ControlFlow, path::PathBuf};

use hardlog::inspect::{Finding, Live, LiveEntry, Window};
use serde_json::{Value as Json, json};

use crate::{
    args::Format,
    decode::Decode,
    dump::{self, Value},
    exit::{self, CLEAN, DAMAGED, Ended, Failure},
    json, next, number,
    out::{COLUMNS, Out, Tone},
    source::Source,
    verify,
};

/// What `get` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct Args {
    /// The log's directory, or one segment file.
    pub(crate) dir: PathBuf,
    /// The entry's index.
    #[arg(value_parser = crate::args::number)]
    pub(crate) index: u64,
    /// How its payload is shown; as text unless asked otherwise.
    #[arg(long, value_enum)]
    pub(crate) value: Option<Value>,
    /// Decode the payload.
    #[arg(long, value_enum)]
    pub(crate) decode: Option<Decode>,
}

pub(crate) fn run(args: &Args, out: &mut Out) -> Ended {
    let source = Source::open(&args.dir)?;
    let window = Window::look(source.fs())?;
    let index = args.index;
    let span = window.span();
    if !span.is_some_and(|(first, last)| (first..=last).contains(&index)) {
        return Err(Failure::Usage(outside(index, &window)));
    }
    let mut ended = Ok(DAMAGED);
    window.entries(source.fs(), index..=index, &mut |row| {
        ended = match row {
            Live::Entry(entry) => entry_found(args, (&window, entry), out),
            Live::Missing(_, why) => missing(args, why, out).map(|()| DAMAGED),
            _ => Ok(DAMAGED),
        }
        .map_err(Failure::Output);
        ControlFlow::Break(())
    })?;
    ended
}

/// Why the window has no such entry.
fn outside(index: u64, window: &Window) -> String {
    let index = number::grouped(index);
    match window.report().summary.window {
        Some((first, next)) if first == next => {
            format!(
                "no entry {index}: the log is empty, the next entry is {}",
                number::grouped(next)
            )
        }
        Some((first, next)) => {
            format!("no entry {index}: the log holds {}", number::span((first, next - 1)))
        }
        None => format!("no entry {index}, and what the log holds is not known"),
    }
}

fn entry_found(
    args: &Args,
    (window, entry): (&Window, LiveEntry<'_>),
    out: &mut Out,
) -> io::Result<u8> {
    let code = if entry.sound { CLEAN } else { DAMAGED };
    let commit = window.report().summary.hard_state.commit;
    let committed = entry.id.index <= commit;
    let decoded = args.decode.map(|decode| decode.of(entry.payload));
    if out.format != Format::Human {
        let mut object = json!({
            "schema": "wal-tool.get/1",
            "exit": code,
            "dir": args.dir.display().to_string(),
            "id": json::id(&entry.id),
            "segment": entry.segment,
            "offset": entry.offset,
            "sequence": entry.sequence,
            "len": entry.payload.len(),
            "crc": { "stored": hex(entry.crc), "computed": hex(crc32fast::hash(entry.payload)) },
            "sound": entry.sound,
            "refilled": entry.refilled,
            "committed": committed,
        });
        if let Some((name, text)) = dump::value_json(args.value, entry.payload) {
            object[name] = Json::String(text);
        }
        if let Some(decoded) = decoded {
            object["decoded"] = Json::String(decoded);
        }
        return out.object(&object).map(|()| code);
    }
    let mut row = |name: &str, text: String| out.line(&format!("  {name:<10} {text}"));
    let tag = if entry.id.tag == 0 { String::new() } else { format!(", tag {}", entry.id.tag) };
    row("entry", format!("{}, term {}{tag}", number::grouped(entry.id.index), entry.id.term))?;
    let brought = if entry.refilled { ", which refilled it" } else { "" };
    let (segment, offset, sequence) = (entry.segment, entry.offset, entry.sequence);
    let sequence = number::grouped(sequence);
    row("stands", format!("in the batch {segment}@{offset:#08x}, sequence {sequence}{brought}"))?;
    let below = if committed { "not above" } else { "above" };
    row("commit", format!("{below} the commit index {}", number::grouped(commit)))?;
    row("length", format!("{} bytes", number::grouped(entry.payload.len() as u64)))?;
    let computed = hex(crc32fast::hash(entry.payload));
    row("CRC", format!("stored {} computed {computed}", hex(entry.crc)))?;
    match decoded {
        Some(decoded) => folded("decoded", &decoded, out)?,
        None => match args.value {
            Some(Value::None) => {}
            // What was asked for by its form is for a program, or for the eye of somebody who scrolls.
            Some(value) => row("value", dump::value(value, entry.payload))?,
            None => folded("value", &dump::value(Value::Utf8, entry.payload), out)?,
        },
    }
    if !entry.sound {
        let word = out.toned(Tone::Bad, "BAD");
        out.line(&format!("  {word}        the bytes are not those that were written"))?;
        out.next(&[next::verify(&args.dir), next::repair_said(&args.dir)])?;
    }
    Ok(code)
}

/// A long text in lines of 80 columns; nothing is put in or left out where it is broken.
fn folded(name: &str, text: &str, out: &mut Out) -> io::Result<()> {
    const FRONT: usize = 13;
    let letters: Vec<char> = text.chars().collect();
    for (at, line) in letters.chunks(COLUMNS - FRONT).enumerate() {
        let name = if at == 0 { name } else { "" };
        out.line(&format!("  {name:<10} {}", line.iter().collect::<String>()))?;
    }
    Ok(())
}

fn missing(args: &Args, why: Option<Finding>, out: &mut Out) -> io::Result<()> {
    if out.format != Format::Human {
        return out.object(&json!({
            "schema": "wal-tool.get/1",
            "exit": DAMAGED,
            "dir": args.dir.display().to_string(),
            "missing": args.index,
            "finding": why.map(|why| json::finding(&why, &args.dir)),
        }));
    }
    out.line(&format!("  entry {} cannot be had", number::grouped(args.index)))?;
    if let Some(why) = why {
        verify::print(&why, &args.dir, out)?;
    }
    out.next(&[next::verify(&args.dir), next::repair_said(&args.dir)])
}

fn hex(crc: u32) -> String {
    format!("{crc:08x}")
}
