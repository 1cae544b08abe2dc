//! What a run tells for the trace: ends, faults, broken rules.
//!
//! Above: `stage`, `faults` and `lab`, where these things happen. Below: the tracer. Nothing here
//! changes a run; with the tracer off nothing here does anything.

use super::{
    plan::Kind,
    stage::Stage,
    watch::{Breach, End},
};
use crate::{
    message::NodeId,
    trace::{Part, What},
};

/// From whom to whom.
type Link = (NodeId, NodeId);

impl Stage {
    pub(super) fn tell_breach(&self, breach: &Breach) {
        let (rule, text) = (breach.rule.to_string().into(), breach.what.clone().into());
        self.setting.tracer.note(0, || What::Violation { rule, text });
    }

    /// A process is about to end.
    pub(super) fn tell_end(&self, id: NodeId, end: End) {
        let what = match end {
            End::Kill => "crash",
            End::PowerCut => "power",
        };
        self.setting.tracer.note(0, || What::fault(what, [id]));
        self.tell_down(id, what);
    }

    /// A disk is of no use any more.
    pub(super) fn tell_retired(&self, id: NodeId, why: &str) {
        let detail = Some(why.to_owned().into());
        let what = || What::Fault { what: "retired".into(), nodes: vec![id], detail };
        self.setting.tracer.note(0, what);
        self.tell_down(id, "retired");
    }

    /// A log or a node does not start.
    pub(super) fn tell_refused(&self, id: NodeId, why: &str) {
        let detail = Some(why.to_owned().into());
        let what = || What::Recover { verdict: "refused".into(), first: 0, last: 0, detail };
        self.setting.tracer.note(id, what);
    }

    fn tell_down(&self, id: NodeId, why: &'static str) {
        let Some(seat) = self.seats.get(&id) else { return };
        for (sent, message) in &seat.backlog {
            let (m, to) = (sent.number, message.to);
            self.setting.tracer.note(message.from, || What::Lost {
                m,
                to,
                why: "node down".into(),
            });
        }
        let Some(machine) = &seat.machine else { return };
        let (term, why) = (machine.core().term(), Some(why.into()));
        let role = Part::Down;
        self.setting.tracer.note(id, || What::Role { term, role, leader: None, why });
    }

    /// A fault befell a node, or some links, of which `before` were cut before. What ends or pauses
    /// a process tells that itself.
    pub(super) fn tell_fault(&self, kind: Kind, id: NodeId, before: &[Link]) {
        let tracer = &self.setting.tracer;
        if !tracer.is_on() {
            return;
        }
        self.tell_links(before);
        let hangs = self.seats.get(&id).is_some_and(|seat| seat.hangs_until > self.now());
        let what = match kind {
            Kind::Clog => "clog",
            Kind::Cut => "power-soon",
            Kind::Slow if hangs => "disk-hang",
            Kind::Slow => "disk-slow",
            Kind::Fail => "disk-error",
            Kind::Full => "disk-full",
            Kind::Damage => "rot",
            Kind::Mend => return tracer.note(0, || What::fault("mend", self.ids())),
            _ => return,
        };
        tracer.note(0, || What::fault(what, [id]));
    }

    /// Links were cut or mended.
    pub(super) fn tell_links(&self, before: &[Link]) {
        let now = self.network.cuts();
        if now == before {
            return;
        }
        let what = if now.is_empty() { "heal" } else { "cut" };
        let link = |(from, to): &Link| format!("{from}>{to}");
        let links: Vec<_> = now.iter().map(link).collect();
        let detail = (!links.is_empty()).then(|| links.join(" ").into());
        let fault = || What::Fault { what: what.into(), nodes: Vec::new(), detail };
        self.setting.tracer.note(0, fault);
    }
}
