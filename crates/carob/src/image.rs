//! `carob image`: through the daemon if one runs, else on the image store itself.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use cri::image::ImageService;
use images::{BuildConfig, BuildOptions, BuildSource, ImageStore};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use crate::admin::{self, Call, Line};
use crate::arguments::{BuildArguments, ImageCommand, ImageOptions};
use crate::instance::{self, Instance};

/// Runs the command.
pub fn run(options: ImageOptions) -> anyhow::Result<ExitCode> {
    let instance = Instance::open(&options.instance)?;
    let call = to_call(options.command)?;
    let progress = Progress::default();
    if instance.daemon_pid().is_some() {
        admin::call(&instance.admin_socket(), &call, |line| progress.show(line))?;
    } else {
        let Some(_lock) = instance::lock(&instance.data("lock"))? else {
            bail!("data directory {} is in use: try again", instance.data_dir.display());
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(alone(&instance, call, &progress))?;
    }
    progress.end();
    Ok(ExitCode::SUCCESS)
}

/// Paths are the caller's; the daemon sees absolute ones.
fn to_call(command: ImageCommand) -> anyhow::Result<Call> {
    let absolute = |path: std::path::PathBuf| {
        std::path::absolute(&path).with_context(|| format!("path {}", path.display()))
    };
    Ok(match command {
        ImageCommand::Ls => Call::ImageList,
        ImageCommand::Pull { name } => Call::ImagePull { name },
        ImageCommand::Import { file } if file.as_os_str() == "-" => {
            Call::ImageImport { file: "/dev/stdin".into() }
        }
        ImageCommand::Import { file } => Call::ImageImport { file: absolute(file)? },
        ImageCommand::Build(build) => {
            if build.tag.is_empty() {
                bail!("an image needs a name: give one with --tag, such as --tag my-app:1.0");
            }
            Call::ImageBuild(BuildArguments { source: absolute(build.source)?, ..build })
        }
        ImageCommand::Rm { names } => Call::ImageRemove { names },
    })
}

async fn alone(instance: &Instance, call: Call, progress: &Progress) -> anyhow::Result<()> {
    let mut options = images::Options::new(instance.data("images"));
    options.registries_file = Some(instance.path("/etc/carob/registries.yaml"));
    let store = ImageStore::open(options)?;
    let (sender, mut lines) = mpsc::channel(64);
    let work = async {
        let result = perform(call, &store, &sender).await;
        drop(sender);
        result
    };
    let show = async {
        while let Some(line) = lines.recv().await {
            progress.show(line);
        }
    };
    futures::future::join(work, show).await.0
}

/// Performs an image call.
pub async fn perform(call: Call, images: &Arc<ImageStore>, lines: &mpsc::Sender<Line>) -> anyhow::Result<()> {
    let say = |text: String| async { lines.send(Line::Text(text)).await.context("the caller is gone") };
    match call {
        Call::ImageList => {
            for line in table(images.list_images().await?) {
                say(line).await?;
            }
        }
        Call::ImagePull { name } => {
            let pulled = pull(images, &name, lines).await?;
            say(format!("{name}: {}", pulled.image_id)).await?;
        }
        Call::ImageImport { file } => {
            let made = images.import_file(&file).await?;
            for image in made {
                say(format!("{}: {}", image.names.join(", "), image.id)).await?;
            }
        }
        Call::ImageBuild(arguments) => {
            let made = images.build(build_options(arguments)?).await?;
            say(format!("{}: {}", made.names.join(", "), made.id)).await?;
        }
        Call::ImageRemove { names } => {
            for name in names {
                if images.image_status(&name).await?.is_none() {
                    bail!("image {name:?} is not here (`carob image ls` shows what is)");
                }
                images.remove_image(&name).await?;
                say(format!("{name}: removed")).await?;
            }
        }
        Call::Down { .. } | Call::Settled => bail!("no call about images"),
    }
    Ok(())
}

async fn pull(
    images: &Arc<ImageStore>,
    name: &str,
    lines: &mpsc::Sender<Line>,
) -> anyhow::Result<cri::image::Pulled> {
    let (sender, mut receiver) = tokio::sync::watch::channel(cri::image::PullProgress::default());
    let pulling = images.pull_image(name, None, Some(sender));
    tokio::pin!(pulling);
    loop {
        tokio::select! {
            done = &mut pulling => return Ok(done?),
            Ok(()) = receiver.changed() => {
                let progress = *receiver.borrow_and_update();
                // Nobody needs to see every step.
                let _ = lines.try_send(Line::Progress(progress.fetched_bytes, progress.total_bytes));
            }
        }
    }
}

fn build_options(arguments: BuildArguments) -> anyhow::Result<BuildOptions> {
    let source = match std::fs::metadata(&arguments.source) {
        Ok(metadata) if metadata.is_dir() => BuildSource::Folder(arguments.source),
        Ok(_) => BuildSource::Archive(arguments.source),
        Err(error) => bail!("{}: {error}", arguments.source.display()),
    };
    Ok(BuildOptions {
        source,
        name: arguments.tag,
        config: BuildConfig {
            entrypoint: words(arguments.entrypoint.as_deref(), "--entrypoint")?,
            cmd: words(arguments.cmd.as_deref(), "--cmd")?,
            env: arguments.env,
            user: arguments.user,
            working_dir: arguments.workdir,
            ..BuildConfig::default()
        },
    })
}

/// A JSON list, or one word.
fn words(text: Option<&str>, flag: &str) -> anyhow::Result<Vec<String>> {
    match text {
        None | Some("") => Ok(Vec::new()),
        Some(text) if text.trim_start().starts_with('[') => serde_json::from_str(text)
            .with_context(|| format!("{flag} {text}: wanted a list such as [\"a\", \"b\"]")),
        Some(text) => Ok(vec![text.to_owned()]),
    }
}

fn table(images: Vec<cri::image::Image>) -> Vec<String> {
    let mut rows: Vec<[String; 3]> = Vec::new();
    for image in images {
        let id = image.id.trim_start_matches("sha256:");
        let id = id[..id.len().min(12)].to_owned();
        let size = format!("{:.1}MB", image.size_bytes as f64 / 1e6);
        let names = if image.repo_tags.is_empty() { image.repo_digests } else { image.repo_tags };
        let names = if names.is_empty() { vec!["<none>".into()] } else { names };
        rows.extend(names.into_iter().map(|name| [name, id.clone(), size.clone()]));
    }
    rows.sort();
    rows.insert(0, ["IMAGE".into(), "ID".into(), "SIZE".into()]);
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1));
    rows.iter().map(|row| format!("{:first$}   {:second$}   {}", row[0], row[1], row[2])).collect()
}

/// Shows lines as they come: text on standard output, progress on a terminal only.
#[derive(Default)]
struct Progress(std::cell::OnceCell<ProgressBar>);

impl Progress {
    #[allow(clippy::print_stdout)] // a command's answer
    fn show(&self, line: Line) {
        match line {
            Line::Text(text) => println!("{text}"),
            Line::Progress(done, total) => {
                let bar = self.0.get_or_init(|| {
                    let style =
                        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} ({bytes_per_sec})");
                    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                });
                bar.set_length(total);
                bar.set_position(done);
            }
            Line::Done | Line::Failed(_) => {}
        }
    }

    fn end(&self) {
        if let Some(bar) = self.0.get() {
            bar.finish_and_clear();
        }
    }
}
