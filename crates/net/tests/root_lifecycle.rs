//! Start, restart, repair, close; other instances and other firewalls on the same machine; how long attaching takes.

mod host;

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::Duration;

use cri::network::PodNetwork;
use host::{HOST, Host, Pod, WORLD, attachment, ip, listen, on_fresh_host, pod, refusal, talk, tool};
use net::Network;
use sys::netns;
use tokio::time::Instant;

/// Bridge and table of the usual instance.
const BRIDGE: &str = "cb-1a2b3c4d";

fn check_all_paths(machine: &Host, pod: &Pod, neighbour: &Pod) {
    let server = listen(&pod.namespace, 80);
    assert_eq!(talk(&neighbour.namespace, &format!("{}:80", pod.address()), &server), neighbour.address());
    assert_eq!(talk(&machine.world, &format!("{HOST}:8080"), &server).to_string(), WORLD);
    let outside = listen(&machine.world, 81);
    assert_eq!(talk(&pod.namespace, &format!("{WORLD}:81"), &outside).to_string(), HOST);
    assert_eq!(talk(&neighbour.namespace, "10.43.0.1:443", &server), neighbour.address());
}

async fn two_pods(network: &Network) -> (Pod, Pod) {
    let pods = (pod(network, "a", &["tcp 8080 80"]).await, pod(network, "b", &[]).await);
    network.set_api_service("10.43.0.1".parse().unwrap(), 443, vec![(pods.0.address(), 80)]).await.unwrap();
    pods
}

#[test]
#[ignore = "needs root: run by make test"]
fn a_restarted_daemon_takes_over() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let (a, b) = two_pods(&network).await;
        let server = listen(&a.namespace, 8000);
        let target = "10.42.0.2:8000".parse().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&target, Duration::from_secs(2));
        let mut open = netns::run_inside(b.namespace.as_fd(), connect).unwrap().unwrap();
        let (mut accepted, _) = server.accept().unwrap();
        drop(network);

        let network = machine.open().await;
        check_all_paths(&machine, &a, &b);
        std::io::Write::write_all(&mut open, b"x").unwrap();
        accepted.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        std::io::Read::read_exact(&mut accepted, &mut [0]).unwrap();
        let again = network.attach(a.namespace.as_fd(), &attachment("a", &["tcp 8080 80"])).await.unwrap();
        assert_eq!(again, a.addresses, "a second attach is the same");
        assert_eq!(
            pod(&network, "c", &[]).await.address().to_string(),
            "10.42.0.4",
            "held addresses stay held"
        );
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn retain_frees_what_is_gone() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let (_a, b) = two_pods(&network).await;
        drop(network);
        let network = machine.open().await;
        network.retain(&["b".into()]).await.unwrap();
        assert_eq!(network.attached().keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(ip(&format!("-o link show master {BRIDGE}")).lines().count(), 1);
        assert_eq!(refusal(&machine.world, &format!("{HOST}:8080")), ErrorKind::ConnectionRefused);
        let c = pod(&network, "c", &["tcp 8080 80"]).await;
        assert_eq!(c.address().to_string(), "10.42.0.4", "freed addresses rest");
        network.set_api_service("10.43.0.1".parse().unwrap(), 443, vec![(c.address(), 80)]).await.unwrap();
        check_all_paths(&machine, &c, &b);
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn a_crash_between_record_and_link_is_finished() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let (a, b) = two_pods(&network).await;
        // As after a crash: the record is there, the link is not.
        let link = ip(&format!("-o link show master {BRIDGE}"));
        let name = link.lines().next().unwrap().split([':', '@']).nth(1).unwrap().trim().to_owned();
        ip(&format!("link delete {name}"));
        network.attach(a.namespace.as_fd(), &attachment("a", &["tcp 8080 80"])).await.unwrap();
        network.attach(b.namespace.as_fd(), &attachment("b", &[])).await.unwrap();
        check_all_paths(&machine, &a, &b);
        // A new namespace under an old id: the sandbox was made again.
        let namespace = netns::create().unwrap();
        let addresses = network.attach(namespace.as_fd(), &attachment("b", &[])).await.unwrap();
        let b = Pod { namespace, id: "b".into(), addresses };
        check_all_paths(&machine, &a, &b);
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn damage_is_repaired_on_events() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let (a, b) = two_pods(&network).await;
        ip(&format!("link delete {BRIDGE}"));
        wait_until(|| ip("-o link show").matches(&format!("master {BRIDGE}")).count() == 2).await;
        check_all_paths(&machine, &a, &b);
        ip(&format!("link set {BRIDGE} down"));
        network.repair().await.unwrap();
        check_all_paths(&machine, &a, &b);
        ip(&format!("address flush dev {BRIDGE}"));
        wait_until(|| ip(&format!("address show {BRIDGE}")).contains("10.42.0.1/24")).await;
        check_all_paths(&machine, &a, &b);

        // All rules of all programs: what a firewall's restart does.
        netlink_flush();
        let server = listen(&a.namespace, 80);
        wait_until(|| reaches(&machine, &format!("{HOST}:8080"))).await;
        drop(server);
        check_all_paths(&machine, &a, &b);
        network.repair().await.unwrap();
        check_all_paths(&machine, &a, &b);
    });
}

/// Whether the world can connect.
fn reaches(machine: &Host, target: &str) -> bool {
    let target = target.parse().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&target, Duration::from_millis(200));
    netns::run_inside(machine.world.as_fd(), connect).unwrap().is_ok()
}

#[test]
#[ignore = "needs root: run by make test"]
fn attaching_does_not_wait_for_repair() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let (a, _b) = two_pods(&network).await;
        ip(&format!("link delete {BRIDGE}"));
        let c = pod(&network, "c", &[]).await;
        check_all_paths(&machine, &a, &c);
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn a_machine_without_ipv6_serves_ipv4() {
    on_fresh_host(|machine| async move {
        // Where the kernel has no IPv6 at all the file is missing, which is the same case.
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        let mut options = machine.options("1a2b3c4d");
        options.pod_cidrs.insert(0, "fd00:42::/64".parse().unwrap());
        options.service_cidrs.push("fd00:43::/112".parse().unwrap());
        let network = Network::open(options).await.unwrap();
        let (a, b) = two_pods(&network).await;
        assert_eq!(a.addresses.len(), 1, "{:?}", a.addresses);
        check_all_paths(&machine, &a, &b);
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn close_leaves_nothing() {
    on_fresh_host(|machine| async move {
        tool("iptables-nft", "-P FORWARD DROP");
        let before = (ip("-o link show"), ip("route show"), tool("iptables-nft", "-S"));
        let network = machine.open().await;
        let (a, _b) = two_pods(&network).await;
        network.close(true).await.unwrap();
        let after = (ip("-o link show"), ip("route show"), tool("iptables-nft", "-S"));
        assert_eq!(before, after);
        assert!(!machine.directory.path().join("1a2b3c4d").exists());
        assert_eq!(refusal(&machine.world, &format!("{HOST}:8080")), ErrorKind::ConnectionRefused);
        let late = network.attach(a.namespace.as_fd(), &attachment("late", &[])).await.unwrap_err();
        assert_eq!(late.message, "the pod network is closed");
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn a_firewall_that_drops_is_opened() {
    for late in [false, true] {
        on_fresh_host(move |machine| async move {
            let drop_all = || {
                tool("iptables-nft", "-P FORWARD DROP");
                tool("iptables-nft", "-P INPUT DROP");
                tool("iptables-nft", "-A INPUT -i lo -j ACCEPT");
                tool("iptables-nft", "-A INPUT -m state --state ESTABLISHED -j ACCEPT");
                tool("iptables-nft", "-A FORWARD -j REJECT");
            };
            if !late {
                drop_all();
            }
            let network = machine.open().await;
            let (a, b) = two_pods(&network).await;
            if late {
                drop_all();
                wait_until(|| tool("iptables-nft", "-S FORWARD").matches(BRIDGE).count() == 2).await;
                network.repair().await.unwrap();
            }
            check_all_paths(&machine, &a, &b);
            let api = listen(&machine.host, 6443);
            assert_eq!(talk(&a.namespace, &format!("{HOST}:6443"), &api), a.address(), "to the host");
            // iptables still understands its own table.
            let forward = tool("iptables-nft", "-S FORWARD");
            assert!(forward.contains(&format!("-A FORWARD -i {BRIDGE}")), "{forward}");
            assert!(forward.contains(&format!("-A FORWARD -o {BRIDGE}")), "{forward}");
            // The firewall's intent stays: nobody comes in uninvited.
            let _server = listen(&b.namespace, 80);
            netns::run_inside(machine.world.as_fd(), || ip(&format!("route add 10.42.0.0/24 via {HOST}")))
                .unwrap();
            assert_eq!(refusal(&machine.world, "10.42.0.3:80"), ErrorKind::TimedOut);
            assert_eq!(refusal(&machine.world, &format!("{HOST}:6443")), ErrorKind::TimedOut);
        });
    }
}

#[test]
#[ignore = "needs root: run by make test"]
fn two_instances_live_together_or_are_refused() {
    on_fresh_host(|machine| async move {
        let first = machine.open().await;
        let refused = |options| async { Network::open(options).await.unwrap_err().to_string() };
        assert_eq!(
            refused(machine.options("ffffffff")).await,
            "pod CIDR 10.42.0.0/24 overlaps route 10.42.0.0/24 of link cb-1a2b3c4d: start with another --pod-cidr"
        );
        let mut options = machine.options("ffffffff");
        options.pod_cidrs = vec!["10.44.0.0/24".parse().unwrap()];
        options.cluster_pod_cidrs = vec!["10.44.0.0/16".parse().unwrap()];
        assert_eq!(
            refused(options.clone()).await,
            "service CIDR 10.43.0.0/16 overlaps route 10.43.0.0/16 of link cb-1a2b3c4d: start with another --service-cidr"
        );
        assert!(!ip("-o link show").contains("cb-ffffffff"), "a refusal changes nothing");
        options.service_cidrs = vec!["10.45.0.0/16".parse().unwrap()];
        let second = Network::open(options).await.unwrap();
        let (a, b) = two_pods(&first).await;
        let namespace = netns::create().unwrap();
        let taken = second.attach(namespace.as_fd(), &attachment("a", &["tcp 8080 80"])).await.unwrap_err();
        assert_eq!(
            taken.message,
            "host port 8080/tcp is held by a Pod of another instance (nftables table carob-1a2b3c4d)"
        );
        assert!(second.attached().is_empty(), "a refused Pod holds nothing");
        let c = pod(&second, "a", &["tcp 8081 80"]).await;
        assert_eq!(c.address().to_string(), "10.44.0.3");
        let server = listen(&c.namespace, 80);
        assert_eq!(talk(&machine.world, &format!("{HOST}:8081"), &server).to_string(), WORLD);
        drop(server);
        second.close(true).await.unwrap();
        check_all_paths(&machine, &a, &b);

        ip("link add other0 type bridge");
        ip("link set other0 up");
        ip("address add 10.60.1.1/16 dev other0");
        let mut options = machine.options("eeeeeeee");
        options.pod_cidrs = vec!["10.60.0.0/24".parse().unwrap()];
        options.service_cidrs = vec!["10.61.0.0/16".parse().unwrap()];
        assert_eq!(
            refused(options).await,
            "pod CIDR 10.60.0.0/24 overlaps route 10.60.0.0/16 of link other0: start with another --pod-cidr"
        );
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn attaching_is_fast() {
    on_fresh_host(|machine| async move {
        const PODS: usize = 60;
        let start = Instant::now();
        let network = machine.open().await;
        let open = start.elapsed();
        let namespaces: Vec<_> = (0..PODS * 2).map(|_| netns::create().unwrap()).collect();
        let mut alone = Vec::new();
        for (index, namespace) in namespaces[..PODS].iter().enumerate() {
            let wanted = attachment(&format!("one{index}"), &[]);
            let start = Instant::now();
            network.attach(namespace.as_fd(), &wanted).await.unwrap();
            alone.push(start.elapsed());
        }
        alone.sort();
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for (index, namespace) in namespaces[PODS..].iter().enumerate() {
            let (network, namespace) = (network.clone(), namespace.try_clone().unwrap());
            tasks.spawn(async move {
                network.attach(namespace.as_fd(), &attachment(&format!("many{index}"), &[])).await.unwrap()
            });
        }
        let addresses: std::collections::BTreeSet<_> = tasks.join_all().await.into_iter().flatten().collect();
        let together = start.elapsed();
        assert_eq!(addresses.len(), PODS, "no address twice");
        let start = Instant::now();
        for index in 0..PODS {
            network.detach(&format!("one{index}")).await.unwrap();
        }
        let detach = start.elapsed() / PODS as u32;
        let start = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..PODS {
            let network = network.clone();
            tasks.spawn(async move { network.detach(&format!("many{index}")).await.unwrap() });
        }
        tasks.join_all().await;
        let detach_together = start.elapsed();
        let (median, worst) = (alone[PODS / 2], alone[PODS - 1]);
        #[allow(clippy::print_stdout)] // the figure is what one runs this test alone for
        {
            println!(
                "open: {open:?}; attach: median {median:?}, worst {worst:?}; {PODS} at once {together:?}; detach: {detach:?}, {PODS} at once {detach_together:?}"
            );
        }
        assert!(median < Duration::from_millis(20), "attaching takes {median:?}");
    });
}

/// Waits for the kernel to show what the repair task does.
async fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5), "nothing was repaired");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Deletes every rule of this network namespace, as `nft flush ruleset` does.
fn netlink_flush() {
    // nfnetlink: batch begin, delete table (no name, family unspecified: all), batch end.
    let message = |kind: u16, flags: u16, header: [u8; 4]| -> Vec<u8> {
        let mut bytes = 20u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        bytes
    };
    let batch =
        [message(16, 1, [0, 0, 0, 10]), message(10 << 8 | 2, 5, [0; 4]), message(17, 1, [0, 0, 0, 10])];
    let socket = netns::netlink_socket(netns::NetlinkProtocol::Netfilter, 0).unwrap();
    rustix::io::write(&socket, &batch.concat()).unwrap();
}
