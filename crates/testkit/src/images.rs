//! Images under the names that tutorials use, made from Debian packages and kept as a filled registry.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cache;
use crate::command::succeed;
use crate::packages;
use crate::registry;

/// An image: what it is made of, and its names.
struct Recipe {
    /// Names, without the registry's (mirrors serve all registries from one place).
    names: &'static [&'static str],
    /// Debian packages of its own layer; none: it has one layer only.
    packages: &'static [&'static str],
    /// Whether it has bash beside busybox.
    bash: bool,
    /// Files of its own: path, text.
    files: &'static [(&'static str, &'static str)],
    /// Its program.
    command: &'static [&'static str],
}

/// Changes whenever what is made of the same packages changes.
const FORMAT: u32 = 5;

const RECIPES: [Recipe; 6] = [
    Recipe {
        names: &["library/busybox:1.28", "library/busybox:latest"],
        packages: &[],
        bash: false,
        files: &[],
        command: &["sh"],
    },
    Recipe {
        names: &["library/ubuntu:focal", "library/centos:7", "library/debian:latest"],
        packages: &[],
        bash: true,
        files: &[],
        command: &["/bin/bash"],
    },
    Recipe {
        names: &["library/nginx:1.14", "library/nginx:1.23", "library/nginx:latest"],
        packages: &["nginx"],
        bash: true,
        files: &[
            ("etc/nginx/nginx.conf", NGINX),
            (
                "usr/share/nginx/html/index.html",
                "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n</head>\n<body>\n<h1>Welcome to nginx!</h1>\n</body>\n</html>\n",
            ),
            ("var/log/nginx/.keep", ""),
            ("var/lib/nginx/.keep", ""),
        ],
        command: &["nginx", "-g", "daemon off;"],
    },
    Recipe {
        names: &["library/httpd:latest"],
        packages: &["apache2-bin"],
        bash: true,
        files: &[
            ("etc/httpd.conf", HTTPD),
            ("htdocs/index.html", "<html><body><h1>It works!</h1></body></html>\n"),
        ],
        command: &["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", "/etc/httpd.conf"],
    },
    Recipe {
        names: &["library/redis:latest"],
        // The server's name is a link into the tools.
        packages: &["redis-tools", "redis-server"],
        bash: true,
        files: &[],
        command: &["/usr/bin/redis-server", "--bind", "0.0.0.0", "--protected-mode", "no"],
    },
    Recipe {
        names: &["subicura/echo:v1", "private/echo:v1", "library/my-app:1.0", "library/log-collector:1.0"],
        packages: &[],
        bash: false,
        files: &[("www/index.html", "echo\n")],
        command: &["sh", "-c", "trap 'exit 0' TERM; httpd -f -p 3000 -h /www & wait"],
    },
];

const NGINX: &str = "user www-data www-data;\nworker_processes 1;\npid /run/nginx.pid;\nerror_log /dev/stderr;\n\
events { worker_connections 256; }\nhttp {\n  access_log /dev/stdout;\n  server {\n    listen 80;\n    listen [::]:80;\n\
    location / { root /usr/share/nginx/html; index index.html; }\n  }\n}\n";
const HTTPD: &str = "ServerRoot /\nPidFile /run/httpd.pid\n\
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so\nListen 80\nUser nobody\nGroup nogroup\n\
DocumentRoot /htdocs\n<Directory /htdocs>\nRequire all granted\n</Directory>\nErrorLog /dev/stderr\n";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\n\
nobody:x:65534:65534:nobody:/:/bin/false\nuser:x:1000:1000::/home/user:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\nuser:x:1000:\n";

/// A registry's storage with all images in it, made once.
pub fn storage() -> anyhow::Result<PathBuf> {
    let mut all: Vec<&str> = vec!["busybox-static", "bash", "libgcc-s1"];
    all.extend(RECIPES.iter().flat_map(|recipe| recipe.packages));
    let versions = packages::with_libraries(&all)?.join(" ");
    let name = format!("images-{}", cache::key(&format!("{FORMAT} {versions}")));
    let made = cache::once(&name, |folder| {
        let work = tempfile::tempdir_in(cache::root()?)?;
        let bases = [base(work.path(), "plain", &["busybox-static"])?, base(work.path(), "bash", &BASH)?];
        let server = registry::serve(&folder.join("registry"), None)?;
        for (number, recipe) in RECIPES.iter().enumerate() {
            let archive = work.path().join(format!("{number}.tar"));
            pack(recipe, &bases[usize::from(recipe.bash)], &work.path().join(number.to_string()), &archive)
                .with_context(|| format!("making {}", recipe.names[0]))?;
            for name in recipe.names {
                server.push(&archive, name)?;
            }
        }
        Ok(())
    })?;
    Ok(made.join("registry"))
}

/// Packages of the larger base.
const BASH: [&str; 3] = ["busybox-static", "bash", "libgcc-s1"];

/// A base layer: busybox with all its names, bash perhaps, and an `/etc`. The layer's file.
fn base(work: &Path, name: &str, wanted: &[&str]) -> anyhow::Result<PathBuf> {
    let root = work.join(name);
    packages::unpack(&packages::with_libraries(wanted)?, &root)?;
    for folder in
        ["bin", "etc", "home/user", "root", "run", "tmp", "usr/bin", "usr/sbin", "var/log", "var/www"]
    {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    if !root.join("var/run").exists() {
        symlink("../run", root.join("var/run"))?;
    }
    let busybox = root.join("bin/busybox");
    for applet in succeed(Command::new(&busybox).arg("--list"))?.lines().filter(|name| *name != "busybox") {
        if !root.join("bin").join(applet).exists() {
            symlink("busybox", root.join("bin").join(applet))?;
        }
    }
    for applet in ["env", "id"] {
        symlink("../../bin/busybox", root.join("usr/bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), PASSWD)?;
    fs::write(root.join("etc/group"), GROUP)?;
    fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    layer(&root, &work.join(format!("{name}.layer")))
}

/// Packs a directory as a layer: the same bytes for the same content.
fn layer(root: &Path, file: &Path) -> anyhow::Result<PathBuf> {
    let mut command = Command::new("tar");
    command.args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=pax"]);
    command.args(["--pax-option=delete=atime,delete=ctime", "-cf"]).arg(file).arg("-C").arg(root).arg(".");
    succeed(&mut command)?;
    Ok(file.to_owned())
}

/// Writes an image as a docker-archive.
fn pack(recipe: &Recipe, base: &Path, work: &Path, archive: &Path) -> anyhow::Result<()> {
    let (root, image) = (work.join("root"), work.join("image"));
    fs::create_dir_all(&root)?;
    fs::create_dir_all(&image)?;
    if !recipe.packages.is_empty() {
        packages::unpack(&packages::with_libraries(recipe.packages)?, &root)?;
    }
    for (path, text) in recipe.files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().context("a file in a directory")?)?;
        fs::write(path, text)?;
    }
    let mut layers = vec![base.to_owned()];
    if !(recipe.packages.is_empty() && recipe.files.is_empty()) {
        layers.push(layer(&root, &work.join("own.layer"))?);
    }
    let mut names = Vec::new();
    let mut digests = Vec::new();
    for (number, file) in layers.iter().enumerate() {
        digests.push(format!("sha256:{}", hex::encode(Sha256::digest(fs::read(file)?))));
        names.push(format!("{number}.tar"));
        fs::copy(file, image.join(format!("{number}.tar")))?;
    }
    let config = config(recipe, &digests);
    fs::write(image.join("config.json"), config.to_string())?;
    let manifest = json!([{ "Config": "config.json", "RepoTags": [recipe.names[0]], "Layers": names }]);
    fs::write(image.join("manifest.json"), manifest.to_string())?;
    succeed(Command::new("tar").arg("-cf").arg(archive).arg("-C").arg(&image).arg("."))?;
    fs::remove_dir_all(work).context("clearing up")
}

fn config(recipe: &Recipe, layers: &[String]) -> Value {
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": { "Env": [path], "Cmd": recipe.command },
        "rootfs": { "type": "layers", "diff_ids": layers },
        "history": layers.iter().map(|_| json!({ "created": "1970-01-01T00:00:00Z" })).collect::<Vec<_>>(),
    })
}

/// Writes an image of one static program as a docker-archive. The program is `/probe`; without a command of its own the
/// image runs it with `arguments`.
pub fn of_program(program: &Path, name: &str, arguments: &[&str], archive: &Path) -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let (root, image) = (work.path().join("root"), work.path().join("image"));
    for folder in ["etc", "tmp", "dev", "proc", "sys"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::create_dir_all(&image)?;
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::write(root.join("etc/passwd"), PASSWD)?;
    fs::write(root.join("etc/group"), GROUP)?;
    succeed(Command::new("strip").arg("-o").arg(root.join("probe")).arg(program))?;
    let file = layer(&root, &image.join("layer.tar"))?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(fs::read(&file)?)));
    let command: Vec<&str> = std::iter::once("/probe").chain(arguments.iter().copied()).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "1970-01-01T00:00:00Z",
        "config": { "Env": ["PATH=/"], "Cmd": command },
        "rootfs": { "type": "layers", "diff_ids": [digest] },
        "history": [{ "created": "1970-01-01T00:00:00Z" }],
    });
    fs::write(image.join("config.json"), config.to_string())?;
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    fs::write(image.join("manifest.json"), manifest.to_string())?;
    succeed(Command::new("tar").arg("-cf").arg(archive).arg("-C").arg(&image).args([
        "manifest.json",
        "config.json",
        "layer.tar",
    ]))
    .map(drop)
}
