//! What a power cut may leave of a simulated disk.
//!
//! Above: the campaigns, through [`super::SimFs::crash_images`]. Below: [`super::state`].
//!
//! Two independent choices make a state. *Names*: each change that no directory sync settled is
//! there or not, in any combination ([`Model::Strict`]) or as a prefix in order ([`Model::Journal`]).
//! *Contents*: of each file that then has a name, the length is the durable one or any later one,
//! and each sector below that length that was written since the last good sync holds the durable
//! content or any later one. Choices that yield the same bytes under the same names count once.
//!
//! If there are no more states than the limit, all are yielded, each once. Otherwise the extremes
//! come first (old names with old contents, new names with new contents, and the two crossed), then
//! a random part of: all new but one sector, length or change of names; only that one new; then
//! random combinations. In both cases states follow in which one sector of a page whose writeback
//! failed is harmed, each once as garbage among old contents and once unreadable among new ones.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::{
    SimFs,
    content::SECTOR,
    inode::Inode,
    rng::Rng,
    state::{Change, Ino, Names, State},
    variants::{Choice, Variants},
};
use crate::fs::Dir;

/// Which combinations of name changes a power cut may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Any: what POSIX allows. A rename within a directory is atomic; one across two directories is
    /// an addition in one and a removal in the other, which may come apart.
    Strict,
    /// A prefix in the order of the calls, and a sync of any directory settles all that came before:
    /// what ext4 and xfs do in practice. Hides a missing sync of a directory.
    Journal,
}

/// One state after a power cut.
#[derive(Debug)]
pub struct Image {
    /// The disk, with nothing pending, unlocked, with power, without faults.
    pub fs: SimFs,
    /// The sector that a failed writeback harmed, if one is damaged in this state.
    pub harmed: Option<Harm>,
}

/// A sector that a failed writeback harmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harm {
    /// Directory of the file.
    pub dir: Dir,
    /// Name of the file.
    pub name: String,
    /// Number of the sector of 512 bytes.
    pub sector: u64,
    /// Whether it is unreadable; else it holds garbage.
    pub unreadable: bool,
}

/// At most so many random choices of names are looked at.
const RANDOM_SCENES_MAX: usize = 1 << 12;
/// What a harmed sector holds where it can be read.
const GARBAGE: u8 = 0xEE;

/// The states after a power cut, made one at a time. See the module's page for which and how many.
#[derive(Debug)]
pub struct CrashImages {
    frozen: Arc<State>,
    scenes: Vec<Scene>,
    picks: std::vec::IntoIter<Pick>,
}

impl CrashImages {
    pub(super) fn new(state: &State, model: Model, limit: usize, rng: &mut Rng) -> Self {
        let scenes = scenes(state, model, limit, rng);
        let count = |sum: u64, scene: &Scene| sum.checked_add(scene.count()?);
        let total = scenes.iter().try_fold(0, count).filter(|total| *total <= limit as u64);
        let mut picks = match total {
            Some(_) => all(&scenes),
            None => sample(&scenes, limit, rng),
        };
        picks.extend(harms(&scenes, state, limit, rng));
        Self { frozen: Arc::new(state.survivor()), scenes, picks: picks.into_iter() }
    }
}

impl Iterator for CrashImages {
    type Item = Image;

    fn next(&mut self) -> Option<Image> {
        let pick = self.picks.next()?;
        let scene = &self.scenes[pick.scene];
        let mut state = (*self.frozen).clone();
        for (ino, file) in &scene.files {
            let content = match &pick.kept {
                Kept::Old => file.content(&file.oldest()),
                Kept::New => file.content(&file.newest()),
                Kept::These(choices) => file.content(&choices[ino]),
            };
            let mut inode = Inode::settled(content);
            inode.unreadable.clone_from(&file.unreadable);
            state.inodes.insert(*ino, inode);
        }
        state.set_names(&scene.names);
        let harmed = pick.harm.map(|harm| harm.inflict(&mut state));
        Some(Image { fs: SimFs::with(state), harmed })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.picks.size_hint()
    }
}

impl ExactSizeIterator for CrashImages {}

/// One choice of names, and what its files may hold.
#[derive(Debug)]
struct Scene {
    names: Names,
    files: BTreeMap<Ino, Arc<Variants>>,
    how: How,
}

/// How a choice of names came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// One of all, or one that tells much: none, all, only one, all but one.
    Planned,
    /// One of too many.
    Random,
}

impl Scene {
    /// How many states it stands for, unless they are too many to count.
    fn count(&self) -> Option<u64> {
        self.files.values().try_fold(1u64, |product, file| product.checked_mul(file.count()?))
    }

    fn choice(&self, mut choose: impl FnMut(&Variants) -> Choice) -> BTreeMap<Ino, Choice> {
        self.files.iter().map(|(ino, file)| (*ino, choose(file))).collect()
    }
}

/// One state: a scene and what survives in each of its files.
#[derive(Debug)]
struct Pick {
    scene: usize,
    kept: Kept,
    harm: Option<PickHarm>,
}

/// Which contents survive.
#[derive(Debug, Hash)]
enum Kept {
    /// Everywhere the durable one.
    Old,
    /// Everywhere the newest one.
    New,
    /// As chosen.
    These(BTreeMap<Ino, Choice>),
}

#[derive(Clone, Copy, Debug)]
struct PickHarm {
    ino: Ino,
    sector: u64,
    unreadable: bool,
}

impl PickHarm {
    fn inflict(self, state: &mut State) -> Harm {
        let (sector, unreadable) = (self.sector, self.unreadable);
        let (dir, name) = state.label(self.ino);
        let inode = state.inode_mut(self.ino);
        if unreadable {
            inode.unreadable.insert(sector);
        } else {
            let len = SECTOR.min(inode.live.len - sector * SECTOR);
            inode.rot(sector * SECTOR, len, |_, _| GARBAGE);
        }
        Harm { dir, name: name.to_string(), sector, unreadable }
    }
}

impl Pick {
    fn of(scene: usize, kept: Kept) -> Self {
        Self { scene, kept, harm: None }
    }

    fn digest(&self, scenes: &[Scene]) -> u64 {
        let scene = &scenes[self.scene];
        let mut hasher = DefaultHasher::new();
        self.scene.hash(&mut hasher);
        for (ino, file) in &scene.files {
            let choice = match &self.kept {
                Kept::Old => file.canonical(&file.oldest()),
                Kept::New => file.canonical(&file.newest()),
                Kept::These(choices) => file.canonical(&choices[ino]),
            };
            choice.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// The distinct choices of names: none of the changes first, all of them last.
fn scenes(state: &State, model: Model, limit: usize, rng: &mut Rng) -> Vec<Scene> {
    let mut base = state.durable_names.clone();
    let mut open: Vec<&Change> = Vec::new();
    for change in &state.changes {
        match model {
            Model::Journal if change.call < state.committed => change.apply(&mut base),
            Model::Journal | Model::Strict => open.push(change),
        }
    }
    let mut variants: BTreeMap<Ino, Arc<Variants>> = BTreeMap::new();
    let mut seen: HashSet<Names> = HashSet::new();
    let mut scenes: Vec<Scene> = Vec::new();
    for (mask, how) in masks(&open, model, limit, rng) {
        let mut names = base.clone();
        open.iter().zip(&mask).filter(|(_, kept)| **kept).for_each(|(c, _)| c.apply(&mut names));
        if mask.iter().all(|kept| *kept) {
            // What readers see goes last, also where it comes to the same as another choice.
            scenes.retain(|scene| scene.names != names);
        } else if !seen.insert(names.clone()) {
            continue;
        }
        let files: BTreeSet<Ino> = names.values().copied().collect();
        let file = |ino: Ino| {
            let known = variants.entry(ino);
            (ino, Arc::clone(known.or_insert_with(|| Arc::new(Variants::of(state.inode(ino))))))
        };
        scenes.push(Scene { files: files.into_iter().map(file).collect(), names, how });
    }
    scenes
}

/// Which changes of names survive: all combinations if they are few, else telling ones and random
/// ones. The first is none, the last is all.
fn masks(open: &[&Change], model: Model, limit: usize, rng: &mut Rng) -> Vec<(Vec<bool>, How)> {
    let n = open.len();
    if model == Model::Journal {
        // Parts of one call survive together.
        let ends = std::iter::once(0).chain(open.iter().map(|change| change.call + 1));
        let prefix = |end| open.iter().map(|change| change.call < end).collect();
        return ends.map(|end| (prefix(end), How::Planned)).collect();
    }
    if n < 16 && 1 << n <= limit.max(1) {
        let subset = |bits: u32| (0..n).map(|i| bits >> i & 1 == 1).collect();
        return (0..1 << n).map(|bits| (subset(bits), How::Planned)).collect();
    }
    let mut masks = vec![(vec![false; n], How::Planned)];
    for i in 0..n {
        masks.push(((0..n).map(|k| k == i).collect(), How::Planned));
        masks.push(((0..n).map(|k| k != i).collect(), How::Planned));
    }
    for _ in 0..limit.min(RANDOM_SCENES_MAX) {
        masks.push(((0..n).map(|_| rng.next_u64() & 1 == 1).collect(), How::Random));
    }
    masks.push((vec![true; n], How::Planned));
    masks
}

/// Each state, once.
fn all(scenes: &[Scene]) -> Vec<Pick> {
    let mut picks = Vec::new();
    for (at, scene) in scenes.iter().enumerate() {
        let mut choices = vec![BTreeMap::new()];
        for (ino, file) in &scene.files {
            let mut longer = Vec::new();
            for choice in &choices {
                for one in file.all() {
                    let mut more: BTreeMap<Ino, Choice> = choice.clone();
                    more.insert(*ino, one);
                    longer.push(more);
                }
            }
            choices = longer;
        }
        picks.extend(choices.into_iter().map(|choice| Pick::of(at, Kept::These(choice))));
    }
    picks
}

/// `limit` states of too many.
fn sample(scenes: &[Scene], limit: usize, rng: &mut Rng) -> Vec<Pick> {
    let old = |at| Pick::of(at, Kept::Old);
    let new = |at| Pick::of(at, Kept::New);
    let last = scenes.len() - 1;
    let mut picks = vec![old(0), new(last)];
    if last > 0 {
        picks.extend([new(0), old(last)]);
    }
    let mut telling = Vec::new();
    for (at, scene) in scenes.iter().enumerate() {
        if scene.how == How::Planned {
            telling.extend([old(at), new(at)]);
        }
    }
    for (ino, file) in &scenes[last].files {
        let lens = usize::from(file.lens.len() > 1);
        for slot in 0..lens + file.sectors.len() {
            let put = |choice: &mut Choice, from: &Choice| match slot.checked_sub(lens) {
                Some(at) => choice.sectors[at] = from.sectors[at],
                None => choice.len = from.len,
            };
            let mut all_but = scenes[last].choice(Variants::newest);
            all_but.entry(*ino).and_modify(|choice| put(choice, &file.oldest()));
            let mut only = scenes[last].choice(Variants::oldest);
            only.entry(*ino).and_modify(|choice| put(choice, &file.newest()));
            telling.extend([all_but, only].map(|choice| Pick::of(last, Kept::These(choice))));
        }
    }
    let mut seen: HashSet<u64> = HashSet::new();
    picks.retain(|pick| seen.insert(pick.digest(scenes)));
    picks.truncate(limit.max(1));
    telling.retain(|pick| !seen.contains(&pick.digest(scenes)));
    rng.shuffle(&mut telling);
    telling.truncate((limit / 4 * 3).saturating_sub(picks.len()));
    picks.extend(telling.into_iter().filter(|pick| seen.insert(pick.digest(scenes))));
    // There are more states than the limit, but chance may be slow to find the last of them.
    for _ in 0..limit.saturating_mul(4) {
        if picks.len() >= limit {
            break;
        }
        let at = rng.below(scenes.len());
        let random = scenes[at].choice(|file| file.random(rng));
        let pick = Pick::of(at, Kept::These(random));
        if seen.insert(pick.digest(scenes)) {
            picks.push(pick);
        }
    }
    picks
}

/// States with one harmed sector, at most `limit`.
fn harms(scenes: &[Scene], state: &State, limit: usize, rng: &mut Rng) -> Vec<Pick> {
    let mut picks = Vec::new();
    for (at, scene) in scenes.iter().enumerate() {
        for (ino, file) in &scene.files {
            for sector in &state.inode(*ino).harmed {
                for unreadable in [false, true] {
                    let len = file.lens[if unreadable { file.newest_len } else { 0 }];
                    if sector * SECTOR >= len {
                        continue;
                    }
                    let kept = if unreadable { Kept::New } else { Kept::Old };
                    let harm = Some(PickHarm { ino: *ino, sector: *sector, unreadable });
                    picks.push(Pick { scene: at, kept, harm });
                }
            }
        }
    }
    if picks.len() > limit {
        rng.shuffle(&mut picks);
        picks.truncate(limit);
    }
    picks
}
