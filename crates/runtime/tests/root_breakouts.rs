//! Images and volumes that try to get at what is hidden or protected of the kernel's files.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cri::runtime::{ContainerConfig, Mount, RuntimeService};
use support::{Bench, container_config};

fn mount(at: &str, source: &Path) -> Mount {
    Mount { container_path: at.to_owned(), host_path: source.display().to_string(), ..Mount::default() }
}

/// Why a container does not start; empty if it does.
async fn refusal(bench: &Bench, change: impl FnOnce(&mut ContainerConfig)) -> String {
    let sandbox_config = bench.sandbox_config();
    let sandbox = bench.runtime.run_pod_sandbox(&sandbox_config, "").await.unwrap();
    let mut config = container_config("exit 0");
    change(&mut config);
    let id = bench.runtime.create_container(&sandbox, &config, &sandbox_config).await.unwrap();
    let started = bench.runtime.start_container(&id).await;
    bench.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    started.err().map(|error| error.message).unwrap_or_default()
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn nothing_is_mounted_over_the_kernels_files() {
    let bench = Bench::new().await;
    let (folder, file) = (bench.path().join("folder"), bench.path().join("file"));
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "17\n").unwrap();
    symlink("/proc", bench.path().join("image/kernel")).unwrap();
    symlink("proc/sys", bench.path().join("image/settings")).unwrap();
    let not_proc = "\"/proc\" cannot be mounted because it is not of type proc";
    let below = |path: &str| format!("{path:?} cannot be mounted because it is inside /proc");
    let rows = [
        ("/proc", folder.as_path(), not_proc.to_owned()),
        ("/proc/", &folder, not_proc.to_owned()),
        ("/kernel", &folder, not_proc.to_owned()),
        ("/proc/sys", &folder, below("/proc/sys")),
        ("/proc/none", &folder, below("/proc/none")),
        ("/kernel/sys/kernel", &folder, below("/proc/sys/kernel")),
        ("/settings", &folder, below("/proc/sys")),
        ("/proc/kcore", &file, below("/proc/kcore")),
        ("/proc/uptime", &file, String::new()),
        ("/proc", Path::new("/proc"), String::new()),
        ("/process", &folder, String::new()),
    ];
    for (place, source, expected) in rows {
        let said = refusal(&bench, |config| config.mounts = vec![mount(place, source)]).await;
        assert!(said.ends_with(&expected) && said.is_empty() == expected.is_empty(), "{place}: {said}");
    }
    let (_, said) =
        bench.outcome("cat /proc/uptime", |config| config.mounts = vec![mount("/proc/uptime", &file)]).await;
    assert_eq!(said, "17\n");
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn images_do_not_say_where_the_kernels_files_are() {
    let bench = Bench::new().await;
    let image = bench.path().join("image");
    fs::create_dir(image.join("elsewhere")).unwrap();
    for (name, kind) in [("proc", "proc"), ("sys", "sysfs")] {
        symlink("elsewhere", image.join(name)).unwrap();
        let said = refusal(&bench, |_| {}).await;
        let expected = format!("filesystem {kind:?} must be mounted on ordinary directory");
        assert!(said.ends_with(&expected), "{name}: {said}");
        fs::remove_file(image.join(name)).unwrap();
    }
    assert_eq!(refusal(&bench, |_| {}).await, "");
    bench.finish().await;
}

/// What stands for `/dev/null` in a volume becomes neither a stream nor a cover.
#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn volumes_do_not_say_what_nothing_is() {
    let bench = Bench::new().await;
    let devices = bench.path().join("devices");
    fs::create_dir(&devices).unwrap();
    for target in ["/proc/sys/kernel/core_pattern", "/dev/zero", "/etc/passwd"] {
        symlink(target, devices.join("null")).unwrap();
        for masked in [vec!["/proc/timer_list".to_owned()], Vec::new()] {
            let said = refusal(&bench, |config| {
                config.mounts = vec![mount("/dev", &devices)];
                config.security_context.masked_paths = masked;
            })
            .await;
            assert!(!said.is_empty(), "{target}");
        }
        fs::remove_file(devices.join("null")).unwrap();
    }
    bench.finish().await;
}
