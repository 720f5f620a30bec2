//! Frames from the other side: no panic, no unbounded memory, whatever they hold.

use bytes::BytesMut;
use proptest::prelude::*;
use stdx::mutate::mutated;
use streams::spdy::{Compressor, Decompressor, Frame, HEADER_BYTES_MAX};

fn headers(count: usize, bytes: usize) -> Vec<(String, String)> {
    (0..count).map(|at| (format!("name-{at}"), "x".repeat(bytes))).collect()
}

/// Frames as a client sends them.
fn frames() -> Vec<Vec<u8>> {
    let block = Compressor::default().compress(&headers(3, 5)).into();
    let all = [
        Frame::SynStream { stream: 1, fin: false, block },
        Frame::Data { stream: 1, fin: true, data: "hello".into() },
        Frame::Ping { id: 7 },
        Frame::GoAway { last_stream: 3 },
    ];
    all.iter()
        .map(|frame| {
            let mut bytes = BytesMut::new();
            frame.write(&mut bytes);
            bytes.to_vec()
        })
        .collect()
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn spdy_frames(seed: u64) {
        let mut buffer = BytesMut::from(&mutated(&frames(), seed)[..]);
        let mut decompressor = Decompressor::default();
        while let Ok(Some(frame)) = Frame::read(&mut buffer) {
            if let Frame::SynStream { block, .. } = frame {
                let _ = decompressor.decompress(&block);
            }
        }
        prop_assert!(buffer.capacity() < 32 << 20, "{} bytes are kept ready", buffer.capacity());
    }

    #[test]
    fn spdy_headers(seed: u64) {
        let blocks = [(1, 1), (30, 40), (0, 0)];
        let blocks = blocks.map(|(count, bytes)| Compressor::default().compress(&headers(count, bytes)));
        let mut decompressor = Decompressor::default();
        for turn in 0..3 {
            if let Ok(headers) = decompressor.decompress(&mutated(&blocks, seed ^ turn)) {
                let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                prop_assert!(bytes <= 2 * HEADER_BYTES_MAX);
            }
        }
    }

    #[test]
    fn websocket_frames(seed: u64) {
        // Masked frames of a client: text, binary with a channel, ping, close; one in two parts; lengths that lie.
        let frames: [&[u8]; 5] = [
            b"\x81\x85\0\0\0\0hello",
            b"\x82\x83\0\0\0\0\x01ab",
            b"\x89\x80\0\0\0\0",
            b"\x88\x82\0\0\0\0\x03\xe8",
            b"\x02\x82\0\0\0\0\0a\x80\x81\0\0\0\0b\x82\xfe\xff\xff\0\0\0\0\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        ];
        let bytes = mutated(&frames, seed);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let (near, mut far) = tokio::io::duplex(1 << 17);
            tokio::io::AsyncWriteExt::write_all(&mut far, &bytes).await.unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut far).await.unwrap();
            let mut socket = streams::websocket::server(near).await;
            while let Some(Ok(_)) = futures::StreamExt::next(&mut socket).await {}
        });
    }
}

#[test]
fn a_small_block_of_large_headers_is_refused() {
    let block = Compressor::default().compress(&headers(1, 4 << 20));
    assert!(block.len() < 1 << 20, "{} bytes", block.len());
    assert_eq!(Decompressor::default().decompress(&block), Err("SPDY headers are too long"));
}
