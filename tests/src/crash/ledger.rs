//! What the caller was told, and whether a recovery keeps to it.
//!
//! A port of `Ledger.judge` of `tests/model/model.py`. Two things are done otherwise, since here the
//! bytes are real: what the disk proves durable is read off the damaged disk itself
//! ([`crate::evidence`]), and states are predicted by [`View::apply`], not copied from the engine.
//!
//! INVARIANT: the states in `hist` are those that a recovery may show, oldest first; all up to
//! `acked` were acknowledged. `unknown` ones are writes that failed: they may be there, and are
//! impossible once a successor exists.

use hardlog::{Index, RecoveryReport, Row, Syncer, Verdict, fs::sim::SimFs};

use crate::{
    evidence::{self, Head},
    view::{Op, View, Vows},
};

const SECTOR: usize = 512;

/// A state that a recovery may show.
#[derive(Clone, Debug)]
struct State {
    view: View,
    lowest: Option<Index>,
    seq: u64,
    unknown: bool,
}

/// What happened to the disk besides a crash.
#[derive(Clone, Debug)]
pub enum Fault {
    /// One sector rotted.
    Rot {
        /// Of which segment file.
        file: String,
        /// Which sector of 512 bytes.
        sector: usize,
        /// How.
        how: &'static str,
    },
    /// A failed writeback harmed a sector, and no later segment makes that harmless.
    Harm,
}

/// A disk as it was found.
#[derive(Debug)]
pub struct Scene<'a> {
    /// What is wrong with it besides a crash.
    pub fault: Option<&'a Fault>,
    /// The disk before the fault.
    pub sound: &'a SimFs,
    /// The disk that was opened, as it was before that.
    pub found: &'a SimFs,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    hist: Vec<State>,
    vows: Vec<(Vows, u64, bool)>,
    /// Sequences of batches that changed a promise.
    vow_seqs: Vec<u64>,
    syncer: Option<Syncer>,
    acked: u64,
}

impl Ledger {
    /// An open handed this out: it is acknowledged.
    pub fn rebase(&mut self, view: View, seq: u64, syncer: Syncer) {
        self.vows = vec![(view.vows.clone(), seq, false)];
        self.hist = vec![State { view, lowest: None, seq, unknown: false }];
        self.vow_seqs.clear();
        self.syncer = Some(syncer);
        self.acked = seq;
    }

    /// Whether there is anything to judge by.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.syncer.is_some()
    }

    /// A batch is about to be written.
    pub fn wrote(&mut self, view: &View, ops: &[Op], seq: u64) {
        if self.hist.last().is_some_and(|last| last.view.vows != view.vows) {
            self.vows.push((view.vows.clone(), seq, false));
            self.vow_seqs.push(seq);
        }
        let lowest = ops.iter().filter_map(Op::lowest).min();
        self.hist.push(State { view: view.clone(), lowest, seq, unknown: false });
    }

    /// The write under way failed: it may be there or not.
    pub fn failed(&mut self, seq: u64) {
        self.hist.iter_mut().filter(|s| s.seq == seq).for_each(|s| s.unknown = true);
        self.vows.iter_mut().filter(|v| v.1 == seq).for_each(|v| v.2 = true);
    }

    /// The write under way was refused: it is not there. Earlier ones that failed may still be.
    pub fn refused(&mut self, seq: u64) {
        self.hist.pop();
        self.vows.pop_if(|vow| vow.1 == seq && self.vow_seqs.pop_if(|s| *s == seq).is_some());
    }

    /// A successor is durable: what failed before it stayed behind, beyond its P.
    pub fn settle(&mut self) {
        self.hist.retain(|state| !state.unknown);
        self.vows.retain(|vow| !vow.2);
    }

    /// Takes over what the log says is durable. Lock-free: a hook may call it inside a call.
    pub fn acknowledge(&mut self) {
        if let Some(syncer) = &self.syncer {
            self.acked = self.acked.max(syncer.durable().sequence());
        }
    }

    /// How far it has come, to tell states apart that look the same on disk.
    #[must_use]
    pub fn progress(&self) -> (u64, usize) {
        (self.acked, self.hist.len())
    }

    /// The view that the caller has now.
    #[must_use]
    pub fn newest(&self) -> Option<&View> {
        self.hist.iter().rfind(|state| !state.unknown).map(|state| &state.view)
    }

    /// Whether `view`, which an open handed out, keeps every promise.
    ///
    /// # Errors
    /// Which promise is broken.
    pub fn judge(
        &self,
        view: &View,
        report: &RecoveryReport,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let row = row_of(report);
        let fits = |state: &&State| view.shows(&state.view);
        let Some(newest) = self.hist.iter().rposition(|state| fits(&state)) else {
            let known = self.hist.iter().map(|s| format!("{}: {}", s.seq, s.view.brief()));
            let known: Vec<String> = known.collect();
            let (shown, known) = (view.brief(), known.join("\n    "));
            return Err(format!(
                "a state that never was ({row}): {shown}, not one of\n    {known}"
            ));
        };
        self.judge_vows(view).map_err(|what| format!("{what} ({row})"))?;
        if view.refused() > 0 && scene.fault.is_none() {
            return Err(format!("a crash made entries unreadable ({row}): {}", view.brief()));
        }
        let kept = |state: &&State| match (state.view.lost, view.lost) {
            (Some(old), Some(new)) => new <= old,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if !self.hist.iter().filter(fits).any(|state| kept(&state)) {
            return Err(format!("an earlier maybe_lost is forgotten: now {:?} ({row})", view.lost));
        }
        let lost: Vec<&State> = self.hist[newest + 1..]
            .iter()
            .filter(|state| state.seq <= self.acked && !state.unknown)
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        self.judge_loss(&lost, view, report, scene)
    }

    fn judge_vows(&self, view: &View) -> Result<(), String> {
        let acked = self.vows.iter().rposition(|v| v.1 <= self.acked && !v.2).unwrap_or(0);
        let legal = &self.vows[acked..];
        if !legal.iter().any(|(vows, ..)| vows.hard == view.vows.hard) {
            return Err(format!("the vote was forgotten: {:?}", view.vows));
        }
        if !legal.iter().any(|(vows, ..)| vows.slot == view.vows.slot) {
            return Err(format!("a promise was forgotten: {:?}", view.vows));
        }
        Ok(())
    }

    fn judge_loss(
        &self,
        lost: &[&State],
        view: &View,
        report: &RecoveryReport,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let row = row_of(report);
        let seqs: Vec<u64> = lost.iter().map(|state| state.seq).collect();
        let what = format!("acknowledged batches {seqs:?} are lost");
        let Some(fault) = scene.fault else { return Err(format!("{what} ({row})")) };
        let proven = evidence::proven(scene.found);
        if seqs.iter().any(|seq| *seq <= proven) {
            return Err(format!("{what}, though the disk proves {proven} durable ({row})"));
        }
        if report.verdict == Some(Verdict::Unproven) {
            let low = lost.iter().filter_map(|state| state.lowest).min();
            let said = view.lost;
            return match low {
                Some(low) if said.is_none_or(|said| said > low) => {
                    Err(format!("{what} from index {low} on, but maybe_lost says {said:?}"))
                }
                _ => Ok(()),
            };
        }
        if self.is_residue(&seqs, fault, scene.sound) {
            return Ok(());
        }
        Err(format!("{what} silently ({row})"))
    }

    /// What stays without evidence: the last batches, whose bytes other than zero all lie in one
    /// sector that turned to zeros.
    fn is_residue(&self, lost: &[u64], fault: &Fault, sound: &SimFs) -> bool {
        let Fault::Rot { file, sector, how: "zero" } = fault else { return false };
        let segments = evidence::segments(sound);
        let Some(segment) = segments.iter().find(|s| s.name == *file) else { return false };
        let bytes = sound.read_file(hardlog::fs::Dir::Root, file).unwrap_or_default();
        let hit = sector * SECTOR..(sector + 1) * SECTOR;
        let is_hit = |h: &&Head| h.at < hit.end && h.end > hit.start;
        let vow_marker = |h: &Head| {
            let first = segment.heads.iter().find(|m| m.marker && m.seq == h.seq);
            h.marker && self.vow_seqs.contains(&h.seq) && first.is_some_and(|m| m.at == h.at)
        };
        if segment.heads.iter().filter(is_hit).any(vow_marker) {
            return false;
        }
        lost.iter().all(|seq| {
            let batch = segment.heads.iter().rfind(|h| h.seq == *seq && !h.marker && !h.state);
            batch.is_some_and(|h| {
                let outside = (h.at..h.end).filter(|at| !hit.contains(at));
                outside.into_iter().all(|at| bytes.get(at).is_none_or(|byte| *byte == 0))
            })
        })
    }
}

/// The row of the verdict table, for messages and counts.
#[must_use]
pub fn row_of(report: &RecoveryReport) -> String {
    let row = match report.row {
        None => "end as stated",
        Some(Row::BornEnd) => "row 1",
        Some(Row::SealedEnd) => "row 2",
        Some(Row::StatedDurable) => "row 3",
        Some(Row::Zeros) => "row 4",
        Some(Row::Otherwise) => "row 5",
    };
    let verdict = match report.verdict {
        None => "new log",
        Some(Verdict::CleanEnd) => "clean end",
        Some(Verdict::Unproven) => "unproven",
        Some(Verdict::MarkersMissing) => "only markers missing",
        Some(Verdict::Corrupt) => "corrupt",
    };
    format!("{row}, {verdict}")
}
