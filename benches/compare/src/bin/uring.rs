//! `uring DIR`: what io_uring would bring a log with one sync lane: a write and its fdatasync as two
//! linked requests in one system call, beside pwrite and fdatasync; and a read of 256 bytes.
//!
//! No part of the engine. It decides whether a second back end is worth having.

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
    process::ExitCode,
};

use compare::store::Result;
use hardlog_benches::{
    data::Dice,
    raw::RawFile,
    stats::{Samples, median, over_rounds},
    table::time,
};
use io_uring::{IoUring, opcode, squeue, types};

/// Rounds that the medians are over.
const ROUNDS: usize = 5;
/// Bytes of the file.
const LEN: u64 = 64 << 20;

fn main() -> ExitCode {
    let dirs: Vec<String> = std::env::args().skip(1).collect();
    let [dir] = dirs.as_slice() else {
        let _ = writeln!(io::stderr(), "usage: uring DIR");
        return ExitCode::from(2);
    };
    match run(Path::new(dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path) -> Result<()> {
    let scratch = tempfile::tempdir_in(dir)?;
    let path = scratch.path().join("file");
    drop(RawFile::create(&path, LEN)?);
    let file = File::options().read(true).write(true).open(&path)?;
    let mut ring = Ring(IoUring::new(8)?);
    let mut out = io::stdout();
    writeln!(out, "| | system calls | io_uring | ÷ |\n|---|---:|---:|---:|")?;
    for len in [128usize, 1 << 10, 4 << 10, 64 << 10, 1 << 20] {
        let bytes = Dice(7).bytes(len);
        let places = (LEN / len as u64).max(1);
        let name = format!("write {len} B, fdatasync");
        let row = turns(100, |turn, by_ring| {
            let at = turn % places * len as u64;
            if by_ring {
                ring.write_and_sync(&file, &bytes, at)
            } else {
                file.write_all_at(&bytes, at)?;
                file.sync_data()
            }
        })?;
        writeln!(out, "| {name} | {row}")?;
    }
    let mut buf = [0; 256];
    let row = turns(20_000, |turn, by_ring| {
        let at = Dice(turn).roll() % (LEN / 256) * 256;
        if by_ring { ring.read(&file, &mut buf, at) } else { file.read_exact_at(&mut buf, at) }
    })?;
    writeln!(out, "| read 256 B from the page cache | {row}")?;
    Ok(())
}

/// Both ways in turns; medians of the p50s, and of their quotients.
fn turns(count: u64, mut work: impl FnMut(u64, bool) -> io::Result<()>) -> io::Result<String> {
    let mut all: [Vec<Samples>; 2] = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let mut both = [Samples::default(), Samples::default()];
        for turn in 0..count {
            for by_ring in [turn % 2 == 0, turn % 2 != 0] {
                both[usize::from(by_ring)].time(|| work(turn, by_ring))?;
            }
        }
        // The first round is for warming up.
        if round > 0 {
            all.iter_mut().zip(both).for_each(|(all, samples)| all.push(samples));
        }
    }
    let quotients = all[0].iter().zip(&all[1]).map(|(a, b)| b.percentile(0.5) / a.percentile(0.5));
    let [calls, ring] = [0, 1].map(|who| time(over_rounds(&all[who], 0.5)));
    Ok(format!("{calls} | {ring} | {:.2} |", median(quotients.collect())))
}

struct Ring(IoUring);

impl Ring {
    /// Both requests in one system call; the sync begins when the write is done.
    fn write_and_sync(&mut self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        let (fd, len) = (types::Fd(file.as_raw_fd()), u32::try_from(bytes.len()));
        let len = len.map_err(io::Error::other)?;
        let write = opcode::Write::new(fd, bytes.as_ptr(), len).offset(at).build();
        let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
        self.submit(&[write.flags(squeue::Flags::IO_LINK).user_data(u64::from(len)), sync])
    }

    fn read(&mut self, file: &File, buf: &mut [u8], at: u64) -> io::Result<()> {
        let len = u32::try_from(buf.len()).map_err(io::Error::other)?;
        let fd = types::Fd(file.as_raw_fd());
        let read = opcode::Read::new(fd, buf.as_mut_ptr(), len).offset(at).build();
        self.submit(&[read.user_data(u64::from(len))])
    }

    /// Waits for all of them; each must have done as many bytes as its user data says.
    #[expect(unsafe_code, reason = "the buffers are borrowed until all requests are done")]
    fn submit(&mut self, entries: &[squeue::Entry]) -> io::Result<()> {
        // SAFETY: the caller's borrow of the buffers lasts until `submit_and_wait` and the loop
        // below have seen every completion.
        unsafe { self.0.submission().push_multiple(entries).map_err(io::Error::other)? };
        self.0.submit_and_wait(entries.len())?;
        let mut seen = 0;
        for done in self.0.completion() {
            let bytes = u64::try_from(done.result());
            if bytes.is_err() {
                return Err(io::Error::from_raw_os_error(-done.result()));
            }
            if bytes != Ok(done.user_data()) {
                return Err(io::ErrorKind::WriteZero.into());
            }
            seen += 1;
        }
        if seen == entries.len() { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
    }
}
