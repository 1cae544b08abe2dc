//! `completions` and `man`: what belongs beside the program, made by the program itself, so that it
//! cannot speak of another version.
//!
//! Above: `main`. Below: the command line as `args` declares it; clap_complete and clap_mangen.

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::{
    args::Arguments,
    exit::{self, CLEAN, Ended},
    out::Out,
};

/// What `completions` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::CODES)]
pub(crate) struct CompletionsArgs {
    /// For which shell.
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Prints a script that completes commands and options.
pub(crate) fn completions(args: &CompletionsArgs, out: &mut Out) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "wal-tool", &mut script);
    out.writer().write_all(&script)?;
    Ok(CLEAN)
}

/// Prints the manual: the whole, and behind it the page of each command.
pub(crate) fn man(out: &mut Out) -> Ended {
    let mut command = Arguments::command().version(env!("CARGO_PKG_VERSION"));
    command.build();
    let mut page = Vec::new();
    let whole = Man::new(command.clone()).manual("wal-tool");
    whole.render_title(&mut page)?;
    whole.render_name_section(&mut page)?;
    whole.render_synopsis_section(&mut page)?;
    whole.render_description_section(&mut page)?;
    whole.render_options_section(&mut page)?;
    page.extend_from_slice(b".SH COMMANDS\n");
    commands(&command, &mut page)?;
    page.extend_from_slice(b".SH \"EXIT STATUS\"\n");
    for line in exit::CODES.lines() {
        let mut words = line.split_whitespace();
        match words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
            Some(code) => {
                let says = words.collect::<Vec<_>>().join(" ");
                page.extend_from_slice(format!(".TP\n\\fB{code}\\fR\n{says}\n").as_bytes());
            }
            None if line.ends_with(':') => {}
            None => page.extend_from_slice(format!(".PP\n{line}\n").as_bytes()),
        }
    }
    out.writer().write_all(&page)?;
    Ok(CLEAN)
}

/// A section for each command below `of`, and for those below them.
fn commands(of: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    for one in of.get_subcommands().filter(|one| one.get_name() != "help") {
        let name = one.get_bin_name().unwrap_or(one.get_name());
        page.extend_from_slice(format!(".SS \"{}\"\n", roff(name)).as_bytes());
        let about = one.get_about().map(ToString::to_string).unwrap_or_default();
        page.extend_from_slice(format!("{}\n", roff(&about)).as_bytes());
        if one.has_subcommands() {
            commands(one, page)?;
            continue;
        }
        let usage = one.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage:").trim();
        page.extend_from_slice(format!(".PP\n\\fB{}\\fR\n", roff(usage)).as_bytes());
        for argument in one.get_arguments().filter(|argument| !argument.is_global_set()) {
            if argument.get_long() == Some("help") {
                continue;
            }
            let (name, says) = described(argument);
            let (name, says) = (roff(&name), roff(&says));
            page.extend_from_slice(format!(".TP\n\\fB{name}\\fR\n{says}\n").as_bytes());
        }
    }
    Ok(())
}

/// An argument as it is typed, and what it does.
fn described(argument: &Arg) -> (String, String) {
    let takes = argument.get_action().takes_values();
    let names: Vec<&str> =
        argument.get_value_names().unwrap_or_default().iter().map(|n| &**n).collect();
    let value = match names.is_empty() {
        true => argument.get_id().to_string().to_uppercase(),
        false => names.join(" "),
    };
    let name = match (argument.get_long(), argument.get_short()) {
        (Some(long), Some(short)) => format!("-{short}, --{long}"),
        (Some(long), None) => format!("--{long}"),
        _ => String::new(),
    };
    let name = if takes { format!("{name} {value}").trim().to_owned() } else { name };
    let says = argument.get_long_help().or(argument.get_help());
    let says = says.map(ToString::to_string).unwrap_or_default();
    let values = argument.get_possible_values();
    let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    if !takes || values.is_empty() {
        return (name, says);
    }
    (name, format!("{says} ({})", values.join(", ")))
}

/// Text that roff does not take for anything else.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text.lines().map(|line| match line.starts_with(['.', '\'']) {
        true => format!("\\&{line}"),
        false => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
