//! What is copied (a backup, a log recovered into a new directory) and a crash in the middle: what
//! stands there afterwards is whole, or is refused, and never passes for a shorter log.
//!
//! Above: `all/copies.rs`, once as it is and once without each sync. Below: `lazy`, the engine.
//! The target is cut off at each call that changes something and crashes in many ways; once the copy
//! was reported as done, every crash must leave it whole.

use std::sync::Arc;

use hardlog::{
    Error, Log,
    backup::backup,
    fs::{
        Dir, Fs,
        sim::{Model, Rng, SimFs},
    },
    inspect::Outcome,
    repair::{ApplyOptions, Ask, Refusal, RepairError, apply, plan, recover},
};

use crate::{
    crash::world::options,
    damage::{Harm, Specimen},
    lazy::Lazy,
    repair::accepting,
    view::View,
};

/// Crash states looked at after each cut.
const STATES: usize = 24;

/// What a campaign saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Calls at which it was cut off.
    pub cuts: u64,
    /// States after a crash.
    pub states: u64,
    /// Of those: whole.
    pub whole: u64,
    /// Of those: refused, or no log at all.
    pub refused: u64,
}

/// A disk that may leave out a sync.
pub type Make<'a> = &'a dyn Fn(&SimFs) -> Lazy;

/// Something that copies a log to a disk.
type Copy<'a> = &'a dyn Fn(&Arc<dyn Fs>) -> Result<(), String>;

/// Copies `from` with [`hardlog::backup`].
///
/// # Errors
/// What passes for a log and is none, or is not there although it was said to be.
pub fn backup_cut_off(from: &SimFs, make: Make<'_>) -> Result<Seen, String> {
    let wanted = view(&from.kill_image())?.ok_or("the source is no log")?;
    let copy =
        |to: &Arc<dyn Fs>| backup(from, &**to, &mut |_| {}).map(drop).map_err(|e| e.to_string());
    cut_off(&copy, make, &|image| same(image, &wanted))
}

/// Cuts the end off `from` as a repair does, which copies it first.
///
/// # Errors
/// What passes for a log and is none, or is not there although it was said to be.
pub fn surgery_cut_off(from: &SimFs, make: Make<'_>) -> Result<Seen, String> {
    let wanted = view(&from.kill_image())?.ok_or("the source is no log")?;
    let ask = Ask { keep_to: Some(wanted.next() - 2), ..Ask::default() };
    let planned = plan(from, &ask).map_err(|e| e.to_string())?;
    let copy = |to: &Arc<dyn Fs>| {
        let log: Arc<dyn Fs> = Arc::new(from.kill_image());
        let how = ApplyOptions { backup: Some(&**to), ..accepting(&planned) };
        apply(&log, &ask, &how).map(drop).map_err(|e| e.to_string())
    };
    cut_off(&copy, make, &|image| same(image, &wanted))
}

/// Recovers `from` into a new directory; then once more into what the crash left.
///
/// # Errors
/// What passes for a log and is none, is not there although it was said to be, or cannot be begun
/// again and is not refused either.
pub fn recover_cut_off(from: &SimFs, make: Make<'_>) -> Result<Seen, String> {
    let untouched = from.digest();
    let (ask, options) = (Ask::default(), options());
    let target = SimFs::new(5);
    let shared: Arc<dyn Fs> = Arc::new(target.clone());
    let done = recover(from, &shared, &ask, &options).map_err(|e| e.to_string())?;
    let wanted = view(&target)?.ok_or("nothing was recovered")?;
    let copy =
        |to: &Arc<dyn Fs>| recover(from, to, &ask, &options).map(drop).map_err(|e| e.to_string());
    let look = |image: &SimFs| {
        let again: Arc<dyn Fs> = Arc::new(image.kill_image());
        match recover(from, &again, &ask, &options) {
            Ok(done) if done.report.outcome() == Outcome::Clean => {}
            Err(RepairError::Refused(Refusal::PlaceTaken(_))) => {}
            other => return Err(format!("begun again: {other:?}")),
        }
        if !same(image, &wanted)? {
            return Ok(false);
        }
        let kept = image.names(Dir::Quarantine);
        let bytes = |name: &String| image.read_file(Dir::Quarantine, name);
        let lost = done.quarantined.iter().find(|name| {
            let was = from.read_file(Dir::Root, name);
            bytes(name) != was.or_else(|| from.read_file(Dir::Snapshots, name))
        });
        lost.map_or(Ok(true), |name| Err(format!("{name} is not kept: {kept:?}")))
    };
    let seen = cut_off(&copy, make, &look)?;
    if from.digest() == untouched { Ok(seen) } else { Err("the source was changed".to_owned()) }
}

fn cut_off(
    copy: Copy<'_>,
    make: Make<'_>,
    look: &dyn Fn(&SimFs) -> Result<bool, String>,
) -> Result<Seen, String> {
    let disk = SimFs::new(5);
    copy(&(Arc::new(make(&disk)) as Arc<dyn Fs>))?;
    let (ended, mut seen) = (disk.ops(), Seen::default());
    for cut in 0..=ended {
        let to = SimFs::new(5);
        to.cut_at(cut);
        let copied = copy(&(Arc::new(make(&to)) as Arc<dyn Fs>));
        if copied.is_ok() != (cut == ended) {
            return Err(format!("cut off at call {cut}: {copied:?}"));
        }
        seen.cuts += 1;
        let mut rng = Rng::new(cut);
        let crashed = to.crash_images(Model::Strict, STATES, &mut rng).map(|image| image.fs);
        for image in std::iter::once(to.kill_image()).chain(crashed) {
            seen.states += 1;
            let whole = look(&image).map_err(|e| format!("call {cut} of {ended}: {e}"))?;
            if cut == ended && !whole {
                return Err("it was said to be done, and after a crash it is not".to_owned());
            }
            *(if whole { &mut seen.whole } else { &mut seen.refused }) += 1;
        }
    }
    Ok(seen)
}

/// Everything that an open shows; None where it refuses or there is no log.
fn view(fs: &SimFs) -> Result<Option<View>, String> {
    match Log::open_on(Arc::new(fs.kill_image()), options()) {
        // A snapshot that does not check is refused where it is opened.
        Ok((log, _)) => match log.snapshot_mark().map(|mark| log.snapshots().verify(mark.id)) {
            Some(Err(Error::Corrupt(_))) => Ok(None),
            Some(Err(e)) => Err(e.to_string()),
            Some(Ok(_)) | None => View::of(&log).map(Some),
        },
        Err(Error::Corrupt(_) | Error::NotALog { .. }) => Ok(None),
        Err(e) => Err(format!("refused as something else: {e}")),
    }
}

/// Whether the log is there, which must be the one that is wanted then.
fn same(image: &SimFs, wanted: &View) -> Result<bool, String> {
    let Some(found) = view(image)? else { return Ok(false) };
    let of = |view: &View| (view.first, view.prev, view.slot.clone(), view.vows.clone());
    let snapshot = |view: &View| view.mark.map(|mark| mark.id);
    if found.entries == wanted.entries
        && of(&found) == of(wanted)
        && snapshot(&found) == snapshot(wanted)
    {
        return Ok(true);
    }
    Err(format!("passes for a log: {} instead of {}", found.brief(), wanted.brief()))
}

/// Repairs with a backup, cuts the repair off at each call, and looks whether each file of the log is,
/// as it was, in the log's directory or in the backup, whatever a crash of both disks leaves.
/// Returns how many states that were.
///
/// # Errors
/// Which file is in neither.
pub fn backed_up(specimen: &Specimen, harm: &Harm, make: Make<'_>) -> Result<u64, String> {
    let mut states = 0;
    let (mut cut, mut over) = (specimen.harmed(harm).ops(), false);
    while !over {
        let (fs, kept) = (specimen.harmed(harm), SimFs::new(31));
        let planned = plan(&fs, &Ask::default()).map_err(|e| e.to_string())?;
        fs.cut_at(cut);
        let (shared, to): (Arc<dyn Fs>, Lazy) = (Arc::new(fs.clone()), make(&kept));
        let how = ApplyOptions { backup: Some(&to), ..accepting(&planned) };
        over = apply(&shared, &Ask::default(), &how).is_ok();
        let images = |disk: &SimFs, seed| {
            let mut rng = Rng::new(seed);
            let crashed = disk.crash_images(Model::Strict, 6, &mut rng).map(|image| image.fs);
            crashed.chain([disk.kill_image()]).collect::<Vec<SimFs>>()
        };
        for (log, backup) in images(&fs, cut).iter().zip(images(&kept, cut + 1).iter()) {
            states += 1;
            for (dir, name) in specimen.files().iter().filter(|(_, name)| !name.ends_with(".idx")) {
                let was = specimen.harmed(harm).read_file(*dir, name);
                if was.is_some() && [log, backup].iter().all(|at| at.read_file(*dir, name) != was) {
                    return Err(format!(
                        "call {cut}: {name} is neither in the log nor in the backup"
                    ));
                }
            }
        }
        cut += 1;
    }
    Ok(states)
}
