//! The batches of a segment in their order, without their payloads, in as little memory as can be.
//!
//! A segment of small batches holds some hundred thousand, and nearly all of them are one run of
//! entries that goes on where the batch before ended: 16 bytes say that. Whatever is not so is kept in
//! full beside them.
//!
//! Above: `outline`, which fills it; `recovery`, `chain`, which go through it once, in order.
//! Below: memory.

use crate::{
    entry::EntryId,
    index::Appended,
    meaning::Step,
    recovery::outline::{Item, Steps},
};

/// Batches and markers, State first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items {
    rows: Vec<Packed>,
    /// Those that a row cannot say, in their order.
    others: Vec<Item>,
    /// What the next one is expected to be.
    expected: Expected,
    /// End of the last one.
    end: u64,
}

/// A batch of one run that is as expected; where `count` is 0, the next of the others.
#[derive(Clone, Copy, Debug)]
struct Packed {
    offset: u32,
    len: u32,
    count: u32,
    bytes: u32,
}

/// What follows from the batches before, if the next one just goes on.
#[derive(Clone, Copy, Debug, Default)]
struct Expected {
    /// Sequence of the batch before.
    seq: u64,
    /// Id of the next entry, were it of the same term and tag.
    next: EntryId,
}

impl Expected {
    fn pass(&mut self, item: &Item) {
        self.seq = item.seq;
        let last = match &item.steps {
            Some(Steps::Run(run)) => Some(run),
            Some(Steps::Many(steps)) => steps.iter().rev().find_map(|step| match step {
                Step::Entries(run) => Some(run),
                _ => None,
            }),
            None => None,
        };
        if let Some(run) = last {
            self.next = EntryId { index: run.last().index.wrapping_add(1), ..run.first };
        }
    }
}

impl Packed {
    fn of(item: &Item, expected: &Expected) -> Option<Self> {
        let Some(Steps::Run(run)) = &item.steps else { return None };
        let goes_on =
            !item.marker && item.seq == expected.seq.wrapping_add(1) && run.first == expected.next;
        let u32_of = |number: u64| u32::try_from(number).ok();
        let (offset, len) = (u32_of(item.offset)?, u32_of(item.end - item.offset)?);
        let (count, bytes) = (u32_of(run.count)?, u32_of(run.bytes)?);
        goes_on.then_some(Self { offset, len, count, bytes })
    }

    fn item(self, expected: &Expected) -> Item {
        let Self { offset, len, count, bytes } = self;
        let run = Appended { first: expected.next, count: count.into(), bytes: bytes.into() };
        Item {
            offset: offset.into(),
            end: u64::from(offset) + u64::from(len),
            seq: expected.seq.wrapping_add(1),
            marker: false,
            steps: Some(Steps::Run(run)),
        }
    }
}

impl Items {
    pub(crate) fn push(&mut self, item: Item) {
        let packed = Packed::of(&item, &self.expected);
        self.expected.pass(&item);
        self.end = item.end;
        self.rows.push(packed.unwrap_or(Packed { offset: 0, len: 0, count: 0, bytes: 0 }));
        if packed.is_none() {
            self.others.push(item);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// End of the last one; 0 where there is none.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Sequence of the last one; 0 where there is none.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.expected.seq
    }

    /// The steps of those that are more, or something else, than one run of entries; in their order.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &[Step]> {
        self.others.iter().filter_map(|item| match &item.steps {
            Some(Steps::Many(steps)) => Some(steps.as_slice()),
            Some(Steps::Run(_)) | None => None,
        })
    }

    /// Which is the last that ends at or before `floor`; the first where none does.
    pub(crate) fn last_before(&self, floor: u64) -> usize {
        let mut others = self.others.iter().rev();
        let mut ends = self.rows.iter().enumerate().rev().filter_map(|(at, row)| {
            let packed = u64::from(row.offset) + u64::from(row.len);
            Some((at, if row.count > 0 { packed } else { others.next()?.end }))
        });
        ends.find(|(_, end)| *end <= floor).map_or(0, |(at, _)| at)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Item> {
        let (mut expected, mut others) = (Expected::default(), self.others.iter());
        self.rows.iter().filter_map(move |row| {
            let item = if row.count > 0 { row.item(&expected) } else { others.next().cloned()? };
            expected.pass(&item);
            Some(item)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hard_state::HardState;

    fn run(offset: u64, seq: u64, (index, term): (u64, u64), count: u64) -> Item {
        let first = EntryId::new(index, term);
        let steps = Some(Steps::Run(Appended { first, count, bytes: 10 * count }));
        Item { offset, end: offset + 100 * count, seq, marker: false, steps }
    }

    fn other(offset: u64, seq: u64, marker: bool, steps: Option<Vec<Step>>) -> Item {
        let steps = steps.map(Steps::Many);
        Item { offset, end: offset + 88, seq, marker, steps }
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let (first, hard) = (EntryId::new(90, 4), Step::HardState(HardState::default()));
        let mixed = vec![hard, Step::Entries(Appended { first, count: 2, bytes: 7 })];
        let put = vec![
            other(8192, 7, false, None),
            run(9000, 8, (1, 1), 3),
            run(9300, 9, (4, 1), 1),
            other(12_288, 9, true, None),
            run(12_400, 10, (5, 1), 2),
            run(12_600, 11, (7, 2), 1),
            run(12_700, 12, (8, 2), 1),
            run(12_800, 13, (20, 2), 1),
            run(12_900, 15, (21, 2), 1),
            other(13_000, 16, false, Some(mixed)),
            run(13_100, 17, (92, 4), 1),
            run(5 << 32, 18, (93, 4), 1),
            run(13_300, 19, (94, 4), 1 << 40),
            run(13_400, 20, (94 + (1 << 40), 4), 1),
        ];
        let mut items = Items::default();
        put.iter().for_each(|item| items.push(item.clone()));
        assert_eq!(format!("{:?}", items.iter().collect::<Vec<_>>()), format!("{put:?}"));
        assert_eq!((items.len(), items.last_seq(), items.end()), (14, 20, 13_500));
        let packed = items.rows.iter().filter(|row| row.count > 0).count();
        assert_eq!(packed, 5, "those that just go on, and no others");
    }

    #[test]
    fn the_last_before_a_place_is_the_last_that_ends_by_it() {
        let put = [
            other(8192, 7, false, None),
            run(9000, 8, (1, 1), 3),
            run(9300, 9, (4, 1), 1),
            other(12_288, 9, true, None),
            run(12_400, 10, (5, 1), 2),
            run(12_600, 11, (7, 2), 1),
        ];
        let mut items = Items::default();
        put.iter().for_each(|item| items.push(item.clone()));
        for floor in 8000..13_000 {
            let last = put.iter().rposition(|item| item.end <= floor);
            assert_eq!(items.last_before(floor), last.unwrap_or(0), "{floor}");
        }
    }
}
