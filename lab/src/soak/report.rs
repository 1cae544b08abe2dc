//! What is told at the end: to people, and to tools as JUnit and JSON.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use super::{
    End,
    board::table,
    tally::{Score, Tally},
    target::Target,
    words::seconds,
};

/// Seeds of one test that are named in the summary.
const SEEDS_MAX: usize = 10;

/// What came of a soak.
pub(super) struct Result<'a> {
    pub(super) target: &'a Target,
    pub(super) tally: &'a Tally,
    pub(super) end: End,
    /// How long it took.
    pub(super) seconds: Duration,
}

impl Result<'_> {
    /// For people.
    pub(super) fn summary(&self) -> String {
        let mut text = table(self.tally, usize::MAX, 200, false);
        for (test, score) in self.tally.scores.iter().enumerate() {
            let seeds: Vec<String> =
                score.failed.keys().take(SEEDS_MAX).map(u64::to_string).collect();
            let Some(first) = score.failed.keys().next() else { continue };
            let more = score.failed.len().saturating_sub(SEEDS_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let (name, replay) = (&score.name, self.target.replay(test, *first));
            let seeds = seeds.join(", ");
            writeln!(text, "{name} failed with seed {seeds}{more}\n  replay: {replay}")
                .expect("a string takes all");
        }
        let (total, failed) = (self.tally.total(), self.tally.failed());
        let (time, end) = (seconds(self.seconds.as_secs_f64()), self.end.words());
        writeln!(text, "{total} runs, {failed} failed, {time}: {end}").expect("a string takes all");
        text
    }

    /// For tools that read JSON; the README names the fields.
    pub(super) fn json(&self) -> String {
        let test = |(test, score): (usize, &Score)| {
            let failure = |(seed, why): (&u64, &String)| {
                let kept = format!("failures/{}", self.target.file_name(test, *seed));
                let replay = self.target.replay(test, *seed);
                json!({ "seed": seed, "why": why, "replay": replay, "kept": kept })
            };
            json!({
                "name": score.name,
                "passed": score.passed,
                "failed": score.failed.len(),
                "total": score.total(),
                "mean_seconds": score.mean(),
                "deviation_seconds": score.deviation(),
                "failures": score.failed.iter().map(failure).collect::<Vec<Value>>(),
            })
        };
        let end = match self.end {
            End::Done => "done",
            End::Failed => "failed",
            End::Time => "time",
            End::Stopped => "stopped",
        };
        let tests: Vec<Value> = self.tally.scores.iter().enumerate().map(test).collect();
        let whole = json!({
            "soak": "raft-lab.soak/1",
            "target": self.target.said(),
            "end": end,
            "seconds": self.seconds.as_secs_f64(),
            "total": self.tally.total(),
            "failed": self.tally.failed(),
            "tests": tests,
        });
        format!("{whole:#}\n")
    }

    /// For tools that read JUnit: a case for each test that passed all its runs, a case for each
    /// seed that did not, and one for those that did beside it.
    pub(super) fn junit(&self) -> String {
        let (mut cases, mut count) = (String::new(), 0_u64);
        for (test, score) in self.tally.scores.iter().enumerate() {
            if score.passed > 0 {
                count += 1;
                let name = match score.failed.is_empty() {
                    true => score.name.clone(),
                    false => format!("{} ({} seeds that pass)", score.name, score.passed),
                };
                let time = score.mean() * score.passed as f64;
                cases += &format!("    {}/>\n", case(&name, time));
            }
            for (seed, why) in &score.failed {
                count += 1;
                let head = case(&format!("{} (seed {seed})", score.name), score.mean());
                let replay = escaped(&self.target.replay(test, *seed));
                let why = escaped(why);
                cases += &format!(
                    "    {head}>\n      <failure message=\"{why}\">{replay}</failure>\n    \
                     </testcase>\n"
                );
            }
        }
        let (failed, time) = (self.tally.failed(), self.seconds.as_secs_f64());
        let counts = format!("tests=\"{count}\" failures=\"{failed}\" time=\"{time:.3}\"");
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  \
             <testsuite name=\"raft-lab soak\" errors=\"0\" skipped=\"0\" {counts}>\n{cases}  \
             </testsuite>\n</testsuites>\n"
        )
    }
}

fn case(name: &str, time: f64) -> String {
    let (name, time) = (escaped(name), format!("{time:.3}"));
    format!("<testcase classname=\"soak\" name=\"{name}\" time=\"{time}\"")
}

/// Text as it may stand in XML, which has no place for most control characters.
pub(super) fn escaped(text: &str) -> String {
    let mut to = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            '\t' | '\n' => to.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => to.push('\u{fffd}'),
            c => to.push(c),
        }
    }
    to
}
