//! Network namespaces and netlink sockets: what the Pod network needs of the kernel beyond plain reads and writes.
//! A netlink socket stays bound to the namespace it was opened in, whichever thread uses it later.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, sockopt};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// Which kernel part a netlink socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetlinkProtocol {
    /// Links, addresses, routes (`NETLINK_ROUTE`).
    Route,
    /// nftables and connection tracking (`NETLINK_NETFILTER`).
    Netfilter,
}

/// Stack of the threads that enter a namespace: they only send a few messages.
const HELPER_STACK_BYTES: usize = 256 * 1024;

/// Memory a netlink socket may hold in each direction: one large nftables transaction, or a burst of events.
const NETLINK_BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Moves the calling thread, and no other, into a network namespace.
pub fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}

/// Gives the calling thread, and no other, a network namespace of its own.
pub fn unshare() -> io::Result<()> {
    // SAFETY: the danger of `unshare` is `CLONE_FILES`, which is not asked for.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// The calling thread's network namespace.
pub fn current() -> io::Result<OwnedFd> {
    Ok(std::fs::File::open("/proc/thread-self/ns/net")?.into())
}

/// Makes a network namespace that lives as long as the descriptor (or a process or link in it).
pub fn create() -> io::Result<OwnedFd> {
    on_helper_thread(|| {
        unshare()?;
        current()
    })?
}

/// Runs `work` inside a network namespace, on a thread that ends with it: no thread can be left in the wrong place.
/// Blocks; `work` itself must not unwind.
pub fn run_inside<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    on_helper_thread(move || {
        enter(namespace)?;
        Ok(work())
    })?
}

fn on_helper_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("netns".into())
            .stack_size(HELPER_STACK_BYTES)
            .spawn_scoped(scope, work)?
            .join()
            .map_err(|_| io::Error::other("the thread in the network namespace panicked"))
    })
}

/// Opens a netlink socket in the calling thread's network namespace. `groups` is the bit mask of multicast groups to
/// hear (bit n-1 for group n); the socket is then non-blocking, so that an event loop can wait for it.
pub fn netlink_socket(protocol: NetlinkProtocol, groups: u32) -> io::Result<OwnedFd> {
    let protocol = match protocol {
        NetlinkProtocol::Route => None,
        NetlinkProtocol::Netfilter => Some(netlink::NETFILTER),
    };
    let mut flags = SocketFlags::CLOEXEC;
    flags.set(SocketFlags::NONBLOCK, groups != 0);
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    // Larger buffers need a capability in the namespace's owner; without it the defaults serve small nodes.
    let _ = sockopt::set_socket_send_buffer_size_force(&socket, NETLINK_BUFFER_BYTES);
    let _ = sockopt::set_socket_recv_buffer_size_force(&socket, NETLINK_BUFFER_BYTES);
    set_flag(socket.as_fd(), libc::NETLINK_EXT_ACK)?;
    set_flag(socket.as_fd(), libc::NETLINK_CAP_ACK)?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

fn set_flag(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open and `on` is a live integer of the length given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The kernel's own id of a network namespace (its inode): equal for two descriptors of one namespace.
pub fn identity(namespace: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::fstat(namespace)?.st_ino)
}
