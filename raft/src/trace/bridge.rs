//! The same events for subscribers of `tracing`, with the same names and fields.
//!
//! Above: the tracer. Below: the facade, whose fields have to be named where they are written; so
//! every kind has a line of its own here, and a new one that forgets its line does not compile.
//! A field that has no value is left out, as in the file.

use super::{Event, Sent, What};

/// Target of the events.
macro_rules! say {
    ($event:expr, $kind:literal $(, $name:ident = $value:expr)* $(,)?) => {
        tracing::debug!(
            target: "hardlog::trace",
            t = $event.at, n = $event.node, q = $event.number, e = $kind
            $(, $name = $value)*
        )
    };
}

#[expect(clippy::too_many_lines, reason = "a table: one line for each kind of event")]
pub(super) fn emit(event: &Event) {
    match &event.what {
        What::Role { term, role, leader, why } => {
            say!(
                event,
                "role",
                term = term,
                role = role.name(),
                leader = leader,
                why = why.as_deref()
            );
        }
        What::AskVote { term, pre, last_index, last_term } => {
            say!(
                event,
                "ask-vote",
                term = term,
                pre = pre,
                last_index = last_index,
                last_term = last_term
            );
        }
        What::Vote { term, candidate, granted, pre, why } => {
            say!(
                event,
                "vote",
                term = term,
                r#for = candidate,
                granted = granted,
                pre = pre,
                why = why.as_deref()
            );
        }
        What::Send(sent) => emit_sent(event, sent),
        What::Recv { m, from, kind } => {
            say!(event, "recv", m = m, from = from, kind = &**kind);
        }
        What::Lost { m, to, why } => say!(event, "lost", m = m, to = to, why = &**why),
        What::Commit { index, term } => say!(event, "commit", index = index, term = term),
        What::Apply { first, last } => say!(event, "apply", first = first, last = last),
        What::Snapshot { what, index, term } => {
            say!(event, "snapshot", what = &**what, index = index, term = term);
        }
        What::Members { index, voters, outgoing, learners } => {
            say!(
                event,
                "members",
                index = index,
                voters = tracing::field::debug(voters),
                outgoing = list(outgoing),
                learners = list(learners)
            );
        }
        What::Write { first, last, term, vote, batch } => {
            say!(
                event,
                "write",
                first = first,
                last = last,
                term = term,
                vote = vote,
                batch = batch
            );
        }
        What::Sync { us } => say!(event, "sync", us = us),
        What::Rotate { segment } => say!(event, "rotate", segment = segment),
        What::TrimTail { after } => say!(event, "trim-tail", after = after),
        What::TrimPrefix { first } => say!(event, "trim-prefix", first = first),
        What::Recover { verdict, first, last, detail } => {
            say!(
                event,
                "recover",
                verdict = &**verdict,
                first = first,
                last = last,
                detail = detail.as_deref()
            );
        }
        What::Fault { what, nodes, detail } => {
            say!(event, "fault", what = &**what, nodes = list(nodes), detail = detail.as_deref());
        }
        What::Call { client, serial, op } => {
            say!(event, "call", client = client, serial = serial, op = &**op);
        }
        What::Return { client, serial, ok, result } => {
            say!(
                event,
                "return",
                client = client,
                serial = serial,
                ok = ok,
                result = result.as_deref()
            );
        }
        What::Violation { rule, text } => {
            say!(event, "violation", rule = &**rule, text = &**text);
        }
        What::Mark { what, text } => say!(event, "mark", what = &**what, text = &**text),
        What::Unknown => {}
    }
}

fn emit_sent(event: &Event, sent: &Sent) {
    say!(
        event,
        "send",
        m = sent.m,
        to = sent.to,
        kind = &*sent.kind,
        term = sent.term,
        prev = sent.prev,
        first = sent.first,
        last = sent.last,
        commit = sent.commit,
        reject = sent.reject,
        conflict_term = sent.conflict_term,
        conflict_index = sent.conflict_index,
        offset = sent.offset,
        bytes = sent.bytes
    );
}

fn list<T: std::fmt::Debug>(values: &[T]) -> Option<tracing::field::DebugValue<&[T]>> {
    (!values.is_empty()).then(|| tracing::field::debug(values))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Map, Value};
    use tracing::{
        Metadata, Subscriber,
        field::{Field, Visit},
        span,
    };

    use crate::trace::{Reader, Tracer};

    /// Keeps the fields of each event.
    #[derive(Clone, Default)]
    struct Keep(Arc<Mutex<Vec<Map<String, Value>>>>);

    struct Fields(Map<String, Value>);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            let text = format!("{value:?}");
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            self.0.insert(field.name().to_owned(), value);
        }
        fn record_str(&mut self, field: &Field, value: &str) {
            self.0.insert(field.name().to_owned(), value.into());
        }
    }

    impl Subscriber for Keep {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "hardlog::trace"
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut fields = Fields(Map::new());
            event.record(&mut fields);
            self.0.lock().unwrap().push(fields.0);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn subscribers_see_the_fields_of_the_file() {
        let page = include_str!("../../TRACE.md");
        let lines = page.lines().filter(|line| line.starts_with('{'));
        let mut lines: Vec<_> = lines.collect();
        lines.remove(1); // The second header.
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let keep = Keep::default();
        tracing::subscriber::with_default(keep.clone(), || {
            let tracer = Tracer::to_tracing();
            for event in Reader::new(text.as_bytes()).unwrap() {
                let event = event.unwrap();
                tracer.note(event.node, || event.what);
            }
        });
        let seen = keep.0.lock().unwrap();
        assert_eq!(seen.len(), lines.len() - 1);
        for (seen, line) in seen.iter().zip(&lines[1..]) {
            let mut expected: Map<String, Value> = serde_json::from_str(line).unwrap();
            let mut seen = seen.clone();
            // The tracer has a clock of its own.
            assert!(seen.remove("t").is_some());
            expected.remove("t");
            assert_eq!(seen, expected);
        }
    }
}
