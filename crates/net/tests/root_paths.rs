//! Every path a packet can take between Pods, host and world.

mod host;

use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::AsFd;

use cri::network::PodNetwork;
use host::{HOST, WORLD, ip, listen, listen_ipv6, on_fresh_host, pod, refusal, talk, udp};
use net::Network;
use sys::netns;

#[test]
#[ignore = "needs root: run by make test"]
fn pods_reach_each_other_the_host_and_the_world() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let (a, b) = (pod(&network, "a", &[]).await, pod(&network, "b", &[]).await);
        assert_eq!(
            (a.address().to_string(), b.address().to_string()),
            ("10.42.0.2".into(), "10.42.0.3".into())
        );

        let server = listen(&b.namespace, 80);
        assert_eq!(talk(&a.namespace, "10.42.0.3:80", &server), a.address(), "Pod to Pod keeps the source");
        assert_eq!(
            talk(&b.namespace, "127.0.0.1:80", &server).to_string(),
            "127.0.0.1",
            "the Pod's own loopback"
        );
        assert_eq!(talk(&machine.host, "10.42.0.3:80", &server).to_string(), "10.42.0.1", "host to Pod");

        let server = listen(&machine.host, 6443);
        assert_eq!(talk(&a.namespace, &format!("{HOST}:6443"), &server), a.address(), "Pod to host");
        assert_eq!(talk(&a.namespace, "10.42.0.1:6443", &server), a.address(), "Pod to gateway");

        let server = listen(&machine.world, 80);
        assert_eq!(talk(&a.namespace, &format!("{WORLD}:80"), &server).to_string(), HOST, "masqueraded");
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn the_pod_sees_what_pods_expect() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let a = pod(&network, "a", &[]).await;
        netns::run_inside(a.namespace.as_fd(), || {
            assert!(ip("-o link show lo").contains("LOOPBACK,UP"));
            let link = ip("-o link show eth0");
            assert!(link.contains("mtu 1400") && link.contains(",UP"), "MTU of the way out: {link}");
            assert!(link.contains("0a:58:0a:2a:00:02"), "{link}");
            assert_eq!(ip("route show").trim(), "default via 10.42.0.1 dev eth0 onlink");
        })
        .unwrap();
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn host_ports() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let a =
            pod(&network, "a", &["tcp 8080 80", "tcp 127.0.0.1:8081 80", "tcp 198.51.100.1:8082 80"]).await;
        let b = pod(&network, "b", &[]).await;
        let server = listen(&a.namespace, 80);
        let world = |port: u16| talk(&machine.world, &format!("{HOST}:{port}"), &server).to_string();
        assert_eq!(world(8080), WORLD, "from the world, with its address");
        assert_eq!(world(8082), WORLD);
        assert_eq!(refusal(&machine.world, &format!("{HOST}:8081")), ErrorKind::ConnectionRefused);
        assert_eq!(
            talk(&machine.host, "127.0.0.1:8080", &server).to_string(),
            "10.42.0.1",
            "host's loopback"
        );
        assert_eq!(talk(&machine.host, "127.0.0.1:8081", &server).to_string(), "10.42.0.1");
        assert_eq!(refusal(&machine.host, "127.0.0.1:8082"), ErrorKind::ConnectionRefused);
        talk(&machine.host, &format!("{HOST}:8080"), &server);
        assert_eq!(talk(&b.namespace, &format!("{HOST}:8080"), &server), b.address(), "from another Pod");
        assert_eq!(talk(&a.namespace, &format!("{HOST}:8080"), &server).to_string(), "10.42.0.1", "hairpin");

        network.detach("a").await.unwrap();
        assert_eq!(refusal(&machine.world, &format!("{HOST}:8080")), ErrorKind::ConnectionRefused);
        let c = pod(&network, "c", &["tcp 8080 81"]).await;
        let server = listen(&c.namespace, 81);
        assert_eq!(
            talk(&machine.world, &format!("{HOST}:8080"), &server).to_string(),
            WORLD,
            "the next Pod's"
        );
        let taken =
            network.attach(b.namespace.as_fd(), &host::attachment("d", &["tcp 8080 80"])).await.unwrap_err();
        assert_eq!(taken.message, "host port 8080/tcp is held by Pod default/pod-c (sandbox c)");
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn udp_clients_follow_a_host_port_to_its_next_pod() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let first = pod(&network, "a", &["udp 5353 53"]).await;
        let client = udp(&machine.world, "0.0.0.0:40000");
        for (index, id) in ["b", "c"].iter().enumerate() {
            let current = if index == 0 {
                first.namespace.try_clone().unwrap()
            } else {
                let next = pod(&network, id, &["udp 5353 53"]).await;
                next.namespace
            };
            let server = udp(&current, "0.0.0.0:53");
            client.send_to(b"who", (HOST, 5353)).unwrap();
            let mut buffer = [0; 16];
            let (length, peer) = server.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], peer.to_string()), (&b"who"[..], format!("{WORLD}:40000")));
            server.send_to(b"me", peer).unwrap();
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from.to_string()), (&b"me"[..], format!("{HOST}:5353")));
            if index == 0 {
                network.detach("a").await.unwrap();
            }
        }
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn the_api_service() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let (a, b) = (pod(&network, "a", &[]).await, pod(&network, "b", &[]).await);
        let vip = "10.43.0.1:443";
        assert_eq!(refusal(&a.namespace, vip), ErrorKind::ConnectionRefused, "no endpoint yet");
        assert_eq!(refusal(&machine.host, vip), ErrorKind::ConnectionRefused);

        let api = listen(&machine.host, 6443);
        let set = |endpoints: Vec<(&str, u16)>| {
            let endpoints = endpoints.iter().map(|(ip, port)| (ip.parse().unwrap(), *port)).collect();
            let network = network.clone();
            async move { network.set_api_service("10.43.0.1".parse().unwrap(), 443, endpoints).await.unwrap() }
        };
        set(vec![(HOST, 6443)]).await;
        assert_eq!(talk(&a.namespace, vip, &api), a.address());
        talk(&machine.host, vip, &api);

        // A Pod as endpoint: from a neighbour, from itself, from the host.
        set(vec![("10.42.0.3", 6443)]).await;
        let server = listen(&b.namespace, 6443);
        assert_eq!(talk(&a.namespace, vip, &server), a.address());
        assert_eq!(talk(&b.namespace, vip, &server).to_string(), "10.42.0.1", "hairpin");
        talk(&machine.host, vip, &server);

        set(vec![(HOST, 6443), ("10.42.0.3", 6443)]).await;
        for server in [&api, &server] {
            server.set_nonblocking(true).unwrap();
        }
        let mut seen = [0, 0];
        for _ in 0..40 {
            let connect = || std::net::TcpStream::connect(vip);
            let _stream = netns::run_inside(a.namespace.as_fd(), connect).unwrap().unwrap();
            let count = |server: &TcpListener| usize::from(server.accept().is_ok());
            seen = [seen[0] + count(&api), seen[1] + count(&server)];
        }
        assert_eq!(seen[0] + seen[1], 40);
        assert!(seen[0] > 3 && seen[1] > 3, "spread over the endpoints: {seen:?}");

        set(vec![]).await;
        assert_eq!(refusal(&a.namespace, vip), ErrorKind::ConnectionRefused);
    });
}

/// The same where the machine does not pass bridged packets through its filters, and where it does.
#[test]
#[ignore = "needs root: run by make test"]
fn services_do_not_depend_on_bridge_filtering() {
    for setting in ["0", "1"] {
        on_fresh_host(move |machine| async move {
            let key = "/proc/sys/net/bridge/bridge-nf-call-iptables";
            if std::fs::write(key, setting).is_err() {
                return; // a kernel without bridge filtering is the case "0"
            }
            let network = machine.open().await;
            let (a, b) = (pod(&network, "a", &[]).await, pod(&network, "b", &["tcp 8080 80"]).await);
            let endpoints = vec![(b.address(), 80)];
            network.set_api_service("10.43.0.1".parse().unwrap(), 443, endpoints).await.unwrap();
            let server = listen(&b.namespace, 80);
            assert_eq!(talk(&a.namespace, "10.43.0.1:443", &server), a.address());
            assert_eq!(talk(&b.namespace, "10.43.0.1:443", &server).to_string(), "10.42.0.1");
            assert_eq!(talk(&a.namespace, "10.42.0.3:80", &server), a.address());
            assert_eq!(talk(&a.namespace, &format!("{HOST}:8080"), &server), a.address());
            assert_eq!(talk(&b.namespace, &format!("{HOST}:8080"), &server).to_string(), "10.42.0.1");
        });
    }
}

#[test]
#[ignore = "needs root: run by make test"]
fn the_hosts_loopback_is_closed_to_pods() {
    on_fresh_host(|machine| async move {
        let network = machine.open().await;
        let a = pod(&network, "a", &[]).await;
        let _tcp = TcpListener::bind("127.0.0.1:9000").unwrap();
        let on_loopback = UdpSocket::bind("127.0.0.1:9000").unwrap();
        let on_gateway = UdpSocket::bind("10.42.0.1:9000").unwrap();
        let send = || {
            // A Pod that routes loopback addresses out of its link, as one with CAP_NET_ADMIN can.
            std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
            ip("rule add pref 0 to 127.0.0.0/8 lookup 100");
            ip("route add default via 10.42.0.1 dev eth0 onlink src 10.42.0.2 table 100");
            ip("rule del pref 0 lookup local");
            ip("rule add pref 1 lookup local");
            let socket = UdpSocket::bind("10.42.0.2:0").unwrap();
            for target in ["127.0.0.1:9000", "10.42.0.1:9000"] {
                socket.send_to(b"x", target).unwrap();
            }
        };
        netns::run_inside(a.namespace.as_fd(), send).unwrap();
        on_gateway.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
        on_gateway.recv_from(&mut [0; 8]).expect("the second datagram arrives");
        on_loopback.set_nonblocking(true).unwrap();
        assert!(on_loopback.recv_from(&mut [0; 8]).is_err(), "the first one, sent before, was dropped");
        assert_eq!(refusal(&a.namespace, "127.0.0.1:9000"), ErrorKind::TimedOut);
    });
}

#[test]
#[ignore = "needs root: run by make test"]
fn both_families() {
    on_fresh_host(|machine| async move {
        if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
            return;
        }
        let mut options = machine.options("1a2b3c4d");
        options.pod_cidrs.push("fd00:42::/64".parse().unwrap());
        options.cluster_pod_cidrs.push("fd00:42::/56".parse().unwrap());
        options.service_cidrs.push("fd00:43::/112".parse().unwrap());
        let network = Network::open(options).await.unwrap();
        let (a, b) = (pod(&network, "a", &["tcp 8080 80"]).await, pod(&network, "b", &[]).await);
        assert_eq!(a.addresses[1].to_string(), "fd00:42::2");
        let addresses = netns::run_inside(a.namespace.as_fd(), || ip("-6 address show dev eth0")).unwrap();
        assert!(
            addresses.contains("fe80::") && !addresses.contains("tentative"),
            "usable at once: {addresses}"
        );
        let server = listen_ipv6(&a.namespace, 80);
        assert_eq!(talk(&b.namespace, "[fd00:42::2]:80", &server), b.addresses[1]);
        assert_eq!(talk(&b.namespace, "10.42.0.2:80", &server), b.addresses[0]);
        assert_eq!(talk(&machine.world, "[2001:db8::1]:8080", &server).to_string(), "2001:db8::2");
        assert_eq!(talk(&a.namespace, "[2001:db8::1]:8080", &server).to_string(), "fd00:42::1", "hairpin");
        talk(&machine.host, "[2001:db8::1]:8080", &server);
        assert_eq!(refusal(&machine.host, "[::1]:8080"), ErrorKind::ConnectionRefused);
        let outside = listen_ipv6(&machine.world, 81);
        assert_eq!(talk(&b.namespace, "[2001:db8::2]:81", &outside).to_string(), "2001:db8::1");
        network
            .set_api_service("fd00:43::1".parse().unwrap(), 443, vec![(a.addresses[1], 80)])
            .await
            .unwrap();
        assert_eq!(talk(&b.namespace, "[fd00:43::1]:443", &server), b.addresses[1]);
        talk(&machine.host, "[fd00:43::1]:443", &server);
    });
}
