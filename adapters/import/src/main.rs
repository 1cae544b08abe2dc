//! `hardlog-import FROM TO`: see the README beside it.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use hardlog_import::{Group, Plan, StateKey, import};

const USAGE: &str = "\
usage: hardlog-import FROM TO [options]

Copies each group of the raft-engine directory FROM into a log of its own, TO/GROUP, and verifies
it. TO must be missing or empty. The node that owns FROM must not run.

  --local-state KEY   key of TiKV's RaftLocalState of each group (default: R)
  --hard-state KEY    key of raft-rs's HardState of each group, instead
  --members KEY       key of the encoded ConfState of each group, if it is in raft-engine
  --voters 1,2,3      the voters of every group without one
";

fn main() -> ExitCode {
    let Some(plan) = parse(std::env::args().skip(1)) else {
        let _ = io::stderr().write_all(USAGE.as_bytes());
        return ExitCode::from(2);
    };
    match import(&plan) {
        Ok(groups) => {
            // A table that nobody can read changes nothing about what was done.
            let _ = table(&groups);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}\nnothing was imported");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan {
        from: PathBuf::new(),
        to: PathBuf::new(),
        state: StateKey::default(),
        members_key: None,
        voters: Vec::new(),
    };
    let mut dirs = Vec::new();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--local-state" => plan.state = StateKey::Local(args.next()?.into_bytes()),
            "--hard-state" => plan.state = StateKey::Bare(args.next()?.into_bytes()),
            "--members" => plan.members_key = Some(args.next()?.into_bytes()),
            "--voters" => {
                let voters = args.next()?;
                plan.voters = voters.split(',').map(|id| id.parse().ok()).collect::<Option<_>>()?;
            }
            _ if arg.starts_with("--") => return None,
            _ => dirs.push(arg),
        }
    }
    let [from, to] = <[String; 2]>::try_from(dirs).ok()?;
    (plan.from, plan.to) = (from.into(), to.into());
    Some(plan)
}

fn table(groups: &[Group]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let heads = ["group", "first", "last", "entries", "term", "vote", "commit"];
    for head in heads {
        write!(out, "{head:>12}")?;
    }
    writeln!(out)?;
    for Group { id, first, last, hard_state: hs } in groups {
        for number in [*id, *first, *last, last - first + 1, hs.term, hs.vote, hs.commit] {
            write!(out, "{number:>12}")?;
        }
        writeln!(out, "  verified")?;
    }
    let entries: u64 = groups.iter().map(|group| group.last - group.first + 1).sum();
    writeln!(out, "{} groups, {entries} entries", groups.len())
}
