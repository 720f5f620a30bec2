//! A machine for each test: a network namespace of its own plays the host, another one behind a veth pair plays the
//! world, more of them are Pods. Everything goes away with the descriptors that hold it.

#![allow(dead_code)] // each test file uses a part

use std::future::Future;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cri::network::{Attachment, PodNetwork};
use cri::sandbox::{PortMapping, Protocol};
use net::{Network, Options};
use sys::netns;

/// The host's address towards the world.
pub const HOST: &str = "198.51.100.1";
/// The world's address.
pub const WORLD: &str = "198.51.100.2";
/// How long a connection may take that is expected to work.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait for one that is expected to be dropped.
const IMPATIENCE: Duration = Duration::from_millis(400);

/// The machine of a test.
pub struct Host {
    /// The world's namespace.
    pub world: OwnedFd,
    /// The host's own.
    pub host: OwnedFd,
    /// For state files.
    pub directory: tempfile::TempDir,
}

/// A Pod: its namespace and what `attach` gave it.
pub struct Pod {
    pub namespace: OwnedFd,
    pub id: String,
    pub addresses: Vec<IpAddr>,
}

impl Pod {
    /// Primary address.
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }
}

/// Runs a test on a machine of its own.
pub fn on_fresh_host<F: Future<Output = ()>>(test: impl FnOnce(Host) -> F + Send + 'static) {
    let run = move || {
        netns::unshare().unwrap();
        let host = Host {
            world: netns::create().unwrap(),
            host: netns::current().unwrap(),
            directory: tempfile::tempdir().unwrap(),
        };
        host.wire();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(host));
    };
    std::thread::spawn(run).join().unwrap();
}

/// Runs `ip` in the calling thread's namespace.
pub fn ip(words: &str) -> String {
    tool("ip", words)
}

/// Runs a program in the calling thread's namespace.
pub fn tool(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

impl Host {
    fn wire(&self) {
        ip("link set lo up");
        ip("link add world0 mtu 1400 type veth peer name eth0");
        let world =
            format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&self.world));
        ip(&format!("link set eth0 netns {world}"));
        ip(&format!("address add {HOST}/24 dev world0"));
        ip("-6 address add 2001:db8::1/64 dev world0 nodad");
        ip("link set world0 up");
        netns::run_inside(self.world.as_fd(), || {
            ip("link set lo up");
            ip(&format!("address add {WORLD}/24 dev eth0"));
            ip("-6 address add 2001:db8::2/64 dev eth0 nodad");
            ip("link set eth0 up");
        })
        .unwrap();
        ip(&format!("route add default via {WORLD}"));
    }

    /// Options for an instance with one IPv4 block.
    pub fn options(&self, instance_id: &str) -> Options {
        Options {
            instance_id: instance_id.into(),
            pod_cidrs: vec!["10.42.0.0/24".parse().unwrap()],
            cluster_pod_cidrs: vec!["10.42.0.0/16".parse().unwrap()],
            service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
            state_dir: self.directory.path().join(instance_id),
            mtu: None,
        }
    }

    /// Opens the usual network.
    pub async fn open(&self) -> Arc<Network> {
        Network::open(self.options("1a2b3c4d")).await.unwrap()
    }
}

/// Attaches a new Pod. Ports are written `tcp 8080 80` or `udp 127.0.0.1:53 53`.
pub async fn pod(network: &Network, id: &str, ports: &[&str]) -> Pod {
    let namespace = netns::create().unwrap();
    let addresses = network.attach(namespace.as_fd(), &attachment(id, ports)).await.unwrap();
    Pod { namespace, id: id.into(), addresses }
}

/// What the runtime would ask.
pub fn attachment(id: &str, ports: &[&str]) -> Attachment {
    Attachment {
        sandbox_id: id.into(),
        port_mappings: ports.iter().map(|text| port(text)).collect(),
        pod_namespace: "default".into(),
        pod_name: format!("pod-{id}"),
    }
}

fn port(text: &str) -> PortMapping {
    let words: Vec<&str> = text.split(' ').collect();
    let (host_ip, host_port) = words[1].rsplit_once(':').unwrap_or(("", words[1]));
    PortMapping {
        protocol: if words[0] == "udp" { Protocol::Udp } else { Protocol::Tcp },
        host_ip: host_ip.into(),
        host_port: host_port.parse().unwrap(),
        container_port: words[2].parse().unwrap(),
    }
}

/// A TCP server in a namespace.
pub fn listen(namespace: &OwnedFd, port: u16) -> TcpListener {
    netns::run_inside(namespace.as_fd(), || TcpListener::bind(("0.0.0.0", port))).unwrap().unwrap()
}

/// A TCP server in a namespace, on both families.
pub fn listen_ipv6(namespace: &OwnedFd, port: u16) -> TcpListener {
    netns::run_inside(namespace.as_fd(), || TcpListener::bind(("::", port))).unwrap().unwrap()
}

/// Connects from a namespace, exchanges a few bytes, and returns the client's address as the server sees it.
pub fn talk(client: &OwnedFd, target: &str, server: &TcpListener) -> IpAddr {
    let target: SocketAddr = target.parse().unwrap();
    let connected = netns::run_inside(client.as_fd(), || TcpStream::connect_timeout(&target, PATIENCE));
    let mut stream = connected.unwrap().unwrap_or_else(|error| panic!("cannot connect to {target}: {error}"));
    let (mut accepted, peer) = server.accept().unwrap();
    for end in [&stream, &accepted] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    stream.write_all(b"question").unwrap();
    let mut question = [0; 8];
    accepted.read_exact(&mut question).unwrap();
    accepted.write_all(b"answer").unwrap();
    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!((&question, &answer), (b"question", b"answer"));
    peer.ip().to_canonical()
}

/// Why a connection from a namespace fails.
pub fn refusal(client: &OwnedFd, target: &str) -> std::io::ErrorKind {
    let target: SocketAddr = target.parse().unwrap();
    let connected = netns::run_inside(client.as_fd(), || TcpStream::connect_timeout(&target, IMPATIENCE));
    match connected.unwrap() {
        Ok(_) => panic!("{target} must not be reachable"),
        Err(error) => error.kind(),
    }
}

/// A UDP socket in a namespace.
pub fn udp(namespace: &OwnedFd, address: &str) -> UdpSocket {
    let socket = netns::run_inside(namespace.as_fd(), || UdpSocket::bind(address)).unwrap().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}
