//! Every damage of the campaign, repaired: what is gone afterwards is what the plan named.
//!
//! Each damaged directory is planned (which may change nothing), applied with exactly the loss that
//! the plan names, opened and read back whole. Entries outside the named range must be there as they
//! were written, entries inside must be gone, verify must be clean, and to repair again must do
//! nothing. Where the end is unproven, entries from there on may be there or not, as for any open.
//!
//! Above: `all/repair.rs`. Below: `damage` (the specimen), and the engine.

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use hardlog::{
    Log,
    fs::{
        Dir, Fs,
        sim::{Model, Rng, SimFs},
    },
    inspect::Outcome,
    repair::{Applied, ApplyOptions, Ask, Plan, RepairError, Step, apply, plan, recover},
};

use crate::{
    crash::{explore::message, world::options},
    damage::{Harm, Specimen},
    lazy::Lazy,
    view::View,
};

const PAGE: u64 = 4096;

/// What a repair came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// There was nothing to repair.
    Sound,
    /// Everything is there afterwards.
    Whole,
    /// Entries that nothing proved durable may be gone, and the log says so.
    Unproven,
    /// The entries that the plan named are gone, and no other.
    Lost,
    /// Nothing can be done without a replica; nothing was changed.
    Hopeless,
    /// The newest file stands as it once stood: no log can see that by itself.
    AsOnce,
}

/// Outcomes by kind of damage, and the first of those that must not be.
#[derive(Debug, Default)]
pub struct Table {
    /// How often each.
    pub counts: BTreeMap<(&'static str, Came), u64>,
    /// Entries that were named as lost, all cases together.
    pub named: u64,
    /// What went wrong.
    pub bad: Vec<String>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, came), count) in &self.counts {
            writeln!(f, "{kind:<22} {count:>8}  {came:?}")?;
        }
        writeln!(f, "entries named as lost: {}", self.named)?;
        self.bad.iter().try_for_each(|bad| writeln!(f, "{bad}"))
    }
}

/// How a plan of the campaign is applied: exactly what it names is accepted.
#[must_use]
pub fn accepting(plan: &Plan) -> ApplyOptions<'_> {
    let accept = plan.to_accept().map(|loss| loss.first..=loss.last.unwrap_or(u64::MAX));
    ApplyOptions { digest: Some(&plan.digest), accept, options: options(), ..Default::default() }
}

/// Plans and applies.
///
/// # Errors
/// What refuses, or fails.
pub fn repair(fs: &SimFs, ask: &Ask<'_>) -> Result<(Plan, Applied), RepairError> {
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let planned = plan(fs, ask)?;
    let applied = apply(&shared, ask, &accepting(&planned))?;
    Ok((planned, applied))
}

/// Everything that an open shows.
///
/// # Errors
/// Why it cannot be opened or read.
pub fn view(fs: &SimFs) -> Result<View, String> {
    let opened = Log::open_on(Arc::new(fs.clone()), options());
    let (log, _) = opened.map_err(|e| format!("does not open: {e}"))?;
    View::of(&log)
}

/// Repairs the specimen after each of `harms`, on all processors.
#[must_use]
pub fn suffer(specimen: &Specimen, harms: &[Harm], peer: Option<&SimFs>) -> Table {
    let (next, table) = (AtomicUsize::new(0), Mutex::new(Table::default()));
    let work = || {
        let mut mine = Table::default();
        while let Some(harm) = harms.get(next.fetch_add(1, Ordering::Relaxed)) {
            let one = AssertUnwindSafe(|| healed(specimen, harm, peer));
            match catch_unwind(one).unwrap_or_else(|panic| Err(message(&*panic))) {
                Ok((came, named)) => {
                    *mine.counts.entry((harm.kind(), came)).or_default() += 1;
                    mine.named += named;
                }
                Err(what) if mine.bad.len() < 20 => mine.bad.push(format!("{harm:?}: {what}")),
                Err(_) => {}
            }
        }
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, count) in mine.counts {
            *table.counts.entry(row).or_default() += count;
        }
        table.named += mine.named;
        table.bad.append(&mut mine.bad);
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    table.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Cuts the repair of one damage off at each call that changes something, lets the machine crash in
/// every way that is looked at, and repairs again: the end is always that of a repair that was not
/// cut off. `lazy` makes the disk of one that may leave out a sync. Returns how many calls and how
/// many states that were.
///
/// # Errors
/// What is different, or fails.
pub fn cut_off(
    specimen: &Specimen,
    harm: &Harm,
    peer: Option<&SimFs>,
    lazy: &dyn Fn(&SimFs) -> Lazy,
) -> Result<(u64, u64), String> {
    /// States looked at after each cut.
    const STATES: usize = 24;
    let ask = Ask { replica: peer.map(|peer| peer as &dyn Fs), ..Ask::default() };
    let whole = specimen.harmed(harm);
    let begun = whole.ops();
    let planned = plan(&whole, &ask).map_err(|e| e.to_string())?;
    let shared: Arc<dyn Fs> = Arc::new(lazy(&whole));
    apply(&shared, &ask, &accepting(&planned)).map_err(|e| e.to_string())?;
    let (ended, wanted) = (whole.ops(), view(&whole)?);
    let mut states = 0;
    for cut in begun..=ended {
        let fs = specimen.harmed(harm);
        fs.cut_at(cut);
        let shared: Arc<dyn Fs> = Arc::new(lazy(&fs));
        let applied = apply(&shared, &ask, &accepting(&planned));
        if applied.is_ok() != (cut == ended) {
            return Err(format!("cut off at call {cut}: {:?}", applied.map(|a| a.report)));
        }
        drop(shared);
        let mut rng = Rng::new(cut);
        let crashed = fs.crash_images(Model::Strict, STATES, &mut rng).map(|image| image.fs);
        for image in std::iter::once(fs.kill_image()).chain(crashed) {
            states += 1;
            if cut == ended {
                // It was reported as done: a crash brings nothing back that needs a repair.
                let again = plan(&image, &ask).map_err(|e| e.to_string())?;
                if again.steps.iter().any(|step| *step != Step::Open) {
                    return Err(format!("done, and after a crash: {:?}", again.steps));
                }
            }
            ends_so(&image, &ask, &wanted)
                .and_then(|()| kept(&planned, &specimen.harmed(harm), &image))
                .map_err(|e| format!("call {cut}, {states}: {e}"))?;
        }
    }
    Ok((ended - begun, states))
}

/// What the plan sets aside is in quarantine, byte for byte.
fn kept(planned: &Plan, before: &SimFs, after: &SimFs) -> Result<(), String> {
    let aside = after.names(Dir::Quarantine);
    let bytes = |name: &String| after.read_file(Dir::Quarantine, name);
    for step in &planned.steps {
        let Step::Quarantine(name) = step else { continue };
        let dir = if name.ends_with(".snap") { Dir::Snapshots } else { Dir::Root };
        let was = before.read_file(dir, name);
        if !aside.iter().any(|kept| kept.starts_with(name) && bytes(kept) == was) {
            return Err(format!("{name} is not in quarantine: {aside:?}"));
        }
    }
    Ok(())
}

/// Repairs what a crash left, and compares it with what it should come to.
fn ends_so(fs: &SimFs, ask: &Ask<'_>, wanted: &View) -> Result<(), String> {
    let (planned, applied) = repair(fs, ask).map_err(|e| format!("again: {e}"))?;
    let found = view(fs)?;
    let of = |view: &View| {
        let mark = view.mark.map(|mark| mark.id);
        let state = (view.first, view.prev, view.commit, view.lost);
        (state, view.slot.clone(), mark, view.vows.clone())
    };
    let same = found.entries == wanted.entries && of(&found) == of(wanted);
    if same && applied.report.outcome() == Outcome::Clean {
        return Ok(());
    }
    let (found, wanted) = (found.brief(), wanted.brief());
    Err(format!("{:?}, {}; {found} instead of {wanted}", planned.steps, applied.report))
}

/// What the log looks like that is salvaged from `fs` into an empty disk.
///
/// # Errors
/// What refuses, fails, or is not clean.
pub fn recovered(fs: &SimFs, peer: Option<&SimFs>) -> Result<View, String> {
    let to = SimFs::new(5);
    let shared: Arc<dyn Fs> = Arc::new(to.clone());
    let ask = Ask { replica: peer.map(|peer| peer as &dyn Fs), ..Ask::default() };
    let done = recover(fs, &shared, &ask, &options()).map_err(|e| e.to_string())?;
    if done.report.outcome() != Outcome::Clean {
        return Err(done.report.to_string());
    }
    view(&to)
}

fn healed(specimen: &Specimen, harm: &Harm, peer: Option<&SimFs>) -> Result<(Came, u64), String> {
    let fs = specimen.harmed(harm);
    let before = fs.digest();
    let ask = Ask { replica: peer.map(|peer| peer as &dyn Fs), ..Ask::default() };
    let planned = plan(&fs, &ask).map_err(|e| format!("no plan: {e}"))?;
    if fs.digest() != before {
        return Err("to plan changed something".to_owned());
    }
    if planned.is_empty() {
        let found = view(&fs)?;
        return compare(specimen, &planned, &found).or_else(|what| at_once(specimen, harm, what));
    }
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let applied = apply(&shared, &ask, &accepting(&planned));
    if planned.hopeless.is_some() {
        let refused = matches!(applied, Err(RepairError::Refused(_)));
        // Only LOCK may be there now.
        return if refused && peer.is_none() {
            Ok((Came::Hopeless, 0))
        } else {
            Err(format!("hopeless: {:?}", planned.hopeless))
        };
    }
    let applied = applied.map_err(|e| format!("{:?}: {e}", planned.steps))?;
    let clean = applied.report.outcome();
    if clean != Outcome::Clean {
        return Err(format!("{:?}: then {}", planned.steps, applied.report));
    }
    twice(&fs, &ask)?;
    let found = view(&fs)?;
    let said = || format!("{:?} loss {:?}: {}", planned.steps, planned.loss, found.brief());
    compare(specimen, &planned, &found).map_err(|what| format!("{what}; {}", said()))
}

/// What no log can see by itself: its newest file stands as it once stood, as a whole.
fn at_once(specimen: &Specimen, harm: &Harm, what: String) -> Result<(Came, u64), String> {
    match *harm {
        Harm::Cut(file, len) if file == specimen.last() && len.is_multiple_of(PAGE) => {
            Ok((Came::AsOnce, 0))
        }
        Harm::Old(file, _) if file == specimen.last() => Ok((Came::AsOnce, 0)),
        _ => Err(what),
    }
}

/// A second repair finds nothing to do and does nothing.
fn twice(fs: &SimFs, ask: &Ask<'_>) -> Result<(), String> {
    let before = fs.digest();
    let (again, _) = repair(fs, ask).map_err(|e| format!("a second time: {e}"))?;
    if again.is_empty() && fs.digest() == before {
        return Ok(());
    }
    Err(format!("a second time: {:?}", again.steps))
}

/// What is gone is what the plan named, no more and no less.
fn compare(specimen: &Specimen, planned: &Plan, found: &View) -> Result<(Came, u64), String> {
    let whole = specimen.whole();
    let low = planned.unproven.unwrap_or(u64::MAX);
    let mut named = 0;
    for (id, bytes) in &whole.entries {
        let lost = planned.loss.is_some_and(|loss| {
            id.index >= loss.first && loss.last.is_none_or(|last| id.index <= last)
        });
        let there = found.id(id.index).filter(|_| id.index >= found.first);
        let at = usize::try_from(id.index.saturating_sub(found.first)).unwrap_or(usize::MAX);
        let payload = found.entries.get(at).map(|(_, payload)| payload);
        named += u64::from(lost);
        match (lost, there) {
            (true, None) => {}
            (false, Some(there)) if there == *id && payload == Some(bytes) => {}
            (false, _) if id.index >= low => {}
            (lost, there) => return Err(format!("entry {}: {lost} {there:?}", id.index)),
        }
    }
    if found.next() > whole.next() {
        return Err("entries that were never written".to_owned());
    }
    let doubtful = planned.vows_doubtful || planned.unproven.is_some();
    if found.vows != whole.vows && !doubtful {
        return Err(format!("other promises: {:?}", found.vows));
    }
    let state = (found.first, found.prev, &found.slot, found.mark.map(|mark| mark.id));
    let was = (whole.first, whole.prev, &whole.slot, whole.mark.map(|mark| mark.id));
    if state != was && !planned.slots_doubtful && planned.unproven.is_none() {
        return Err(format!("{state:?} was {was:?}"));
    }
    let lost = planned.loss.map(|loss| loss.first).or(planned.unproven);
    if lost.is_some_and(|first| found.lost.is_none_or(|lost| lost > first)) {
        return Err(format!("lost from {lost:?} on, and the log says {:?}", found.lost));
    }
    let came = match (planned.is_empty(), planned.loss, planned.unproven) {
        (true, ..) => Came::Sound,
        (_, Some(_), _) => Came::Lost,
        (_, None, Some(_)) => Came::Unproven,
        (_, None, None) => Came::Whole,
    };
    Ok((came, named))
}
