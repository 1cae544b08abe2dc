//! The names, files, space and plans of a simulated disk, without any locking.
//!
//! Above: [`super`], which puts the traits in front of it, and [`super::crash`], which asks what a
//! power cut may leave. Below: [`super::inode`].
//!
//! - `names` is what the running system sees; `durable_names` is what is sure to be there after a
//!   cut; `changes` is the difference, in order. A change is what one call did: a rename within one
//!   directory is one part and thus atomic, one across two directories has a part in each.
//! - `sync_dir` settles the parts of that directory only. A journal commits in order, so under the
//!   journal model whatever came before the newest settled change is settled too (`committed`).
//! - Unlinked files keep their space until the last handle is closed.
//! - Of the changes in `tmp/` only the last [`TMP_CHANGES_MAX`] stay open, older ones settle: nothing
//!   there outlives an open, nobody syncs it, and each would double the number of crash states.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use rustix::io::Errno;

use super::{
    Call, Fault, Step,
    content::PAGE,
    fault::{Counts, Effect, power_off},
    inode::Inode,
    rng::Rng,
};
use crate::fs::Dir;

/// Number of an inode within one simulated disk.
pub(super) type Ino = u64;
/// A name with its directory.
pub(super) type Key = (Dir, Arc<str>);
/// Files by name.
pub(super) type Names = BTreeMap<Key, Ino>;

/// How many changes of names in `tmp/` a power cut may undo.
const TMP_CHANGES_MAX: usize = 2;

/// What one call did to the names of one directory.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// Which call, counted over the life of the disk.
    pub(super) call: u64,
    /// Which directory.
    pub(super) dir: Dir,
    /// Each name and what it stands for from then on.
    pub(super) names: Vec<(Arc<str>, Option<Ino>)>,
}

impl Change {
    pub(super) fn apply(&self, names: &mut Names) {
        for (name, ino) in &self.names {
            let key = (self.dir, Arc::clone(name));
            match ino {
                Some(ino) => drop(names.insert(key, *ino)),
                None => drop(names.remove(&key)),
            }
        }
    }
}

/// A disk.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// Whether the directories exist; they are durable from the start.
    pub(super) made: bool,
    pub(super) names: Names,
    pub(super) durable_names: Names,
    pub(super) changes: Vec<Change>,
    /// Under the journal model each change of a call before this one is durable.
    pub(super) committed: u64,
    calls_on_names: u64,
    pub(super) inodes: BTreeMap<Ino, Inode>,
    /// The newest name of each file, for messages.
    labels: BTreeMap<Ino, Key>,
    next_ino: Ino,
    /// Bytes of space, if bounded.
    pub(super) capacity: Option<u64>,
    /// Which lock is held, if any.
    pub(super) lock: Option<u64>,
    pub(super) locks_taken: u64,
    pub(super) rng: Rng,
    pub(super) clock: u64,
    pub(super) counts: Counts,
    pub(super) faults: Vec<Fault>,
    /// Faults that struck so far.
    pub(super) struck: u64,
    /// The call that mutates at which the power goes.
    pub(super) cut_at: Option<u64>,
    /// Whether it has gone.
    pub(super) off: bool,
    /// Steps so far, if recorded.
    pub(super) steps: Option<Vec<Step>>,
}

impl State {
    /// Counts a call; tells how it shall fail, or that the power is off.
    pub(super) fn begin(&mut self, call: Call) -> io::Result<Option<Effect>> {
        if call.mutates() && self.cut_at.is_some_and(|at| self.counts.mutating >= at) {
            self.off = true;
        }
        if self.off {
            return Err(power_off());
        }
        let effect = self.counts.count(call, &self.faults);
        self.struck += u64::from(effect.is_some());
        Ok(effect)
    }

    /// An empty disk.
    pub(super) fn seeded(seed: u64) -> Self {
        Self { rng: Rng::new(seed), ..Self::default() }
    }

    /// A disk without files that goes on where this one stopped: time, randomness and numbers.
    pub(super) fn survivor(&self) -> Self {
        Self {
            made: self.made,
            next_ino: self.next_ino,
            capacity: self.capacity,
            rng: self.rng.clone(),
            clock: self.clock,
            ..Self::default()
        }
    }

    /// The machine after its process was killed: all but what only the process knew.
    pub(super) fn killed(&self) -> Self {
        let mut state = Self {
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            changes: self.changes.clone(),
            committed: self.committed,
            calls_on_names: self.calls_on_names,
            inodes: self.inodes.clone(),
            labels: self.labels.clone(),
            ..self.survivor()
        };
        state.inodes.values_mut().for_each(|inode| inode.handles = 0);
        state.collect();
        state
    }

    /// As after a clean shutdown: everything is on the platter.
    pub(super) fn settle(&mut self) {
        self.durable_names.clone_from(&self.names);
        self.changes.clear();
        self.collect();
        self.inodes.values_mut().for_each(Inode::settle);
    }

    /// The file behind a name.
    pub(super) fn lookup(&self, dir: Dir, name: &str) -> io::Result<Ino> {
        self.there()?;
        self.names.get(&(dir, name.into())).copied().ok_or_else(|| Errno::NOENT.into())
    }

    /// Refuses when the directories were never made.
    pub(super) fn there(&self) -> io::Result<()> {
        if self.made { Ok(()) } else { Err(Errno::NOENT.into()) }
    }

    pub(super) fn inode(&self, ino: Ino) -> &Inode {
        self.inodes.get(&ino).expect("kept while a name or handle leads to it")
    }

    pub(super) fn inode_mut(&mut self, ino: Ino) -> &mut Inode {
        self.inodes.get_mut(&ino).expect("kept while a name or handle leads to it")
    }

    /// How many names a file has.
    pub(super) fn links(&self, ino: Ino) -> usize {
        self.names.values().filter(|named| **named == ino).count()
    }

    /// The newest name of a file.
    pub(super) fn label(&self, ino: Ino) -> Key {
        self.labels.get(&ino).cloned().unwrap_or_else(|| (Dir::Root, "".into()))
    }

    /// A new file without a name.
    pub(super) fn add(&mut self, inode: Inode) -> Ino {
        let ino = self.next_ino;
        self.next_ino += 1;
        self.inodes.insert(ino, inode);
        ino
    }

    pub(super) fn create(&mut self, dir: Dir, name: &str) -> io::Result<Ino> {
        self.there()?;
        if self.names.contains_key(&(dir, name.into())) || is_dir(dir, name) {
            return Err(Errno::EXIST.into());
        }
        let ino = self.add(Inode::default());
        self.change(vec![Change { call: 0, dir, names: vec![(name.into(), Some(ino))] }]);
        Ok(ino)
    }

    pub(super) fn rename(&mut self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        let ino = self.lookup(from.0, from.1)?;
        if is_dir(to.0, to.1) {
            return Err(Errno::ISDIR.into());
        }
        if from == to || self.names.get(&(to.0, to.1.into())) == Some(&ino) {
            return Ok(());
        }
        let (gone, come) = ((from.1.into(), None), (to.1.into(), Some(ino)));
        self.change(if from.0 == to.0 {
            vec![Change { call: 0, dir: to.0, names: vec![gone, come] }]
        } else {
            vec![
                Change { call: 0, dir: to.0, names: vec![come] },
                Change { call: 0, dir: from.0, names: vec![gone] },
            ]
        });
        Ok(())
    }

    /// A second name of a file. Both lead to the same bytes.
    pub(super) fn link(&mut self, from: (Dir, &str), to: (Dir, &str)) -> io::Result<()> {
        let ino = self.lookup(from.0, from.1)?;
        if self.names.contains_key(&(to.0, to.1.into())) || is_dir(to.0, to.1) {
            return Err(Errno::EXIST.into());
        }
        self.change(vec![Change { call: 0, dir: to.0, names: vec![(to.1.into(), Some(ino))] }]);
        Ok(())
    }

    pub(super) fn unlink(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        if is_dir(dir, name) && self.made {
            return Err(Errno::ISDIR.into());
        }
        self.lookup(dir, name)?;
        self.change(vec![Change { call: 0, dir, names: vec![(name.into(), None)] }]);
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, dir: Dir) -> io::Result<()> {
        self.there()?;
        let (settled, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.changes).into_iter().partition(|change| change.dir == dir);
        for change in settled {
            change.apply(&mut self.durable_names);
            self.committed = self.committed.max(change.call + 1);
        }
        self.changes = open;
        self.collect();
        Ok(())
    }

    /// Bytes taken up by files that have a name or a handle.
    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<Ino> = self.names.values().copied().collect();
        let held = self.inodes.iter().filter(|(i, inode)| named.contains(i) || inode.handles > 0);
        held.map(|(_, inode)| inode.pages() * PAGE).sum()
    }

    /// Pages that are free; without a capacity, as many as anybody asks for.
    pub(super) fn free_pages(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |bytes| bytes.saturating_sub(self.used()) / PAGE)
    }

    /// Forgets files to which nothing leads any more.
    pub(super) fn collect(&mut self) {
        let mut led: BTreeSet<Ino> = self.names.values().copied().collect();
        led.extend(self.durable_names.values());
        led.extend(self.changes.iter().flat_map(|change| &change.names).filter_map(|(_, i)| *i));
        self.inodes.retain(|ino, inode| inode.handles > 0 || led.contains(ino));
        self.labels.retain(|ino, _| self.inodes.contains_key(ino));
    }

    /// A settled name for a settled file, as if it had always been there.
    pub(super) fn plant(&mut self, dir: Dir, name: &str, ino: Option<Ino>) {
        for change in &mut self.changes {
            if change.dir == dir {
                change.names.retain(|(changed, _)| **changed != *name);
            }
        }
        self.changes.retain(|change| !change.names.is_empty());
        let settled = Change { call: 0, dir, names: vec![(name.into(), ino)] };
        settled.apply(&mut self.names);
        settled.apply(&mut self.durable_names);
        if let Some(ino) = ino {
            self.labels.insert(ino, (dir, name.into()));
        }
        self.collect();
    }

    /// Exactly these names, all durable.
    pub(super) fn set_names(&mut self, names: &Names) {
        self.durable_names.clone_from(names);
        self.names.clone_from(names);
        self.labels = names.iter().map(|(key, ino)| (*ino, key.clone())).collect();
    }

    /// Applies what one call did, and remembers it as not durable.
    fn change(&mut self, parts: Vec<Change>) {
        for mut part in parts {
            part.call = self.calls_on_names;
            part.apply(&mut self.names);
            for (name, ino) in &part.names {
                if let Some(ino) = ino {
                    self.labels.insert(*ino, (part.dir, Arc::clone(name)));
                }
            }
            self.changes.push(part);
        }
        self.calls_on_names += 1;
        while self.changes.iter().filter(|change| change.dir == Dir::Tmp).count() > TMP_CHANGES_MAX
        {
            let oldest = self.changes.iter().position(|change| change.dir == Dir::Tmp);
            let oldest = self.changes.remove(oldest.expect("counted above"));
            oldest.apply(&mut self.durable_names);
        }
        self.collect();
    }
}

/// Whether the name is one of the root's sub-directories.
pub(super) fn is_dir(dir: Dir, name: &str) -> bool {
    dir == Dir::Root && Dir::ALL.iter().any(|sub| sub.name() == name)
}
