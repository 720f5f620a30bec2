//! Loading seccomp filters.

use std::io;

use crate::check_long;

/// Loads a filter for the calling process. Each instruction is packed as the kernel lays it out: code in the low 16
/// bits, then 8 bits jump-if-true, 8 bits jump-if-false, 32 bits operand.
pub fn load(program: &[u64], log: bool) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|word| libc::sock_filter {
            code: *word as u16,
            jt: (*word >> 16) as u8,
            jf: (*word >> 24) as u8,
            k: (*word >> 32) as u32,
        })
        .collect();
    let length = u16::try_from(filter.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "seccomp filter is too long"))?;
    let header = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    let flags = if log { libc::SECCOMP_FILTER_FLAG_LOG } else { 0 };
    // SAFETY: header and filter outlive the call, and the length is the filter's.
    check_long(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const header)
    })?;
    Ok(())
}
