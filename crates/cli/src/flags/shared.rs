//! Flags that several commands share.

use super::{Flag, Groups, Kind};

/// Flags of every command.
pub const GLOBAL: Groups = &[&[
    Flag::new("as", Kind::Text, "", "User to act as; may be a service account"),
    Flag::new("as-group", Kind::Array, "", "Group to act as; may be repeated"),
    Flag::new("as-uid", Kind::Text, "", "UID to act as"),
    Flag::new("as-user-extra", Kind::Array, "", "Extra field (key=value) to act with; may be repeated"),
    Flag::new("cache-dir", Kind::Text, "", "Accepted for compatibility: nothing is cached on disk"),
    Flag::new("certificate-authority", Kind::Text, "", "File with the certificate authority's certificates"),
    Flag::new("client-certificate", Kind::Text, "", "File with the client certificate"),
    Flag::new("client-key", Kind::Text, "", "File with the client key"),
    Flag::new("cluster", Kind::Text, "", "Name of the kubeconfig cluster to use"),
    Flag::new("context", Kind::Text, "", "Name of the kubeconfig context to use"),
    Flag::switch("disable-compression", "Accepted for compatibility: answers are not compressed"),
    Flag::switch("insecure-skip-tls-verify", "Do not check the server's certificate: insecure"),
    Flag::new("kubeconfig", Kind::Text, "", "Path of the kubeconfig file to use"),
    Flag::new("kuberc", Kind::Text, "", "Accepted for compatibility: preferences are not read"),
    Flag::new("log-flush-frequency", Kind::Duration, "5s", "Accepted for compatibility"),
    Flag::switch("match-server-version", "Accepted for compatibility"),
    Flag::new("namespace", Kind::Text, "", "Namespace of this request").short('n'),
    Flag::new("password", Kind::Text, "", "Password for basic authentication"),
    Flag::new("profile", Kind::Text, "none", "Accepted for compatibility"),
    Flag::new("profile-output", Kind::Text, "profile.pprof", "Accepted for compatibility"),
    Flag::new("request-timeout", Kind::Text, "0", "How long to wait for one answer (1s, 2m); 0 is for ever"),
    Flag::new("server", Kind::Text, "", "Address and port of the API server").short('s'),
    Flag::new("tls-server-name", Kind::Text, "", "Name to check the server's certificate against"),
    Flag::new("token", Kind::Text, "", "Bearer token for authentication"),
    Flag::new("user", Kind::Text, "", "Name of the kubeconfig user to use"),
    Flag::new("username", Kind::Text, "", "Name for basic authentication"),
    Flag::new("v", Kind::Integer, "0", "Accepted for compatibility: nothing is logged").short('v'),
    Flag::new("vmodule", Kind::Text, "", "Accepted for compatibility"),
    Flag::switch("warnings-as-errors", "Take the server's warnings as errors: exit with a code other than 0"),
]];

const FILE_NAME: Flag =
    Flag::new("filename", Kind::Texts, "", "Files, directories or - (standard input) with objects")
        .short('f');

/// `-f` alone.
pub const FILE_NAMES: &[Flag] = &[FILE_NAME];

/// `-R` of commands that read directories whole unless told otherwise.
pub const RECURSIVE_AT_ONCE: &[Flag] =
    &[Flag::new("recursive", Kind::Bool, "true", "Read the directories of -f with all below them")
        .short('R')];

/// `-f`, `-k`, `-R`.
pub const FILES: &[Flag] = &[
    FILE_NAME,
    Flag::new("kustomize", Kind::Text, "", "A kustomization directory").short('k'),
    Flag::switch("recursive", "Read the directories of -f with all below them").short('R'),
];

/// `-o` and what belongs to it, for commands that print objects.
pub const OUTPUT: &[Flag] = &output("");
/// The same for a command that prints YAML unless told otherwise.
pub const OUTPUT_YAML: &[Flag] = &output("yaml");
/// The same for a command that prints JSON unless told otherwise.
pub const OUTPUT_JSON: &[Flag] = &output("json");

const fn output(default: &'static str) -> [Flag; 4] {
    [
        Flag::new("output", Kind::Text, default, "Format: json, yaml, kyaml, name, go-template, go-template-file, template, templatefile, jsonpath, jsonpath-as-json, jsonpath-file").short('o'),
        Flag::new("template", Kind::Text, "", "Template, or file of one, for -o=go-template and -o=go-template-file"),
        Flag::new("allow-missing-template-keys", Kind::Bool, "true", "Let templates pass over fields that are missing"),
        Flag::switch("show-managed-fields", "Keep managedFields in JSON and YAML"),
    ]
}

/// `--dry-run`.
pub const DRY_RUN: &[Flag] = &[Flag::new(
    "dry-run",
    Kind::Text,
    "none",
    "none, client (print what would be sent) or server (send it, but store nothing)",
)
.bare("unchanged")];

/// `-l`.
pub const SELECTOR: &[Flag] =
    &[Flag::new("selector", Kind::Text, "", "Label selector: =, ==, !=, in, notin").short('l')];

/// `--field-selector`.
pub const FIELD_SELECTOR: &[Flag] = &[Flag::new(
    "field-selector",
    Kind::Text,
    "",
    "Field selector: =, ==, != (--field-selector key1=value1)",
)];

/// `--validate`.
pub const VALIDATE: &[Flag] = &[Flag::new(
    "validate",
    Kind::Text,
    "strict",
    "strict (or true), warn, or ignore (or false): what the server does about unknown fields",
)
.bare("strict")];

/// `--field-manager` and others that only tell the server who writes.
pub const fn manager(name: &'static str) -> [Flag; 1] {
    [Flag::new("field-manager", Kind::Text, name, "Name under which fields are owned")]
}

/// `--overrides` and how they are written, for commands that make objects of flags.
pub const OVERRIDES: &[Flag] = &[
    Flag::new("override-type", Kind::Text, "merge", "json, merge or strategic: how --overrides is written"),
    Flag::new("overrides", Kind::Text, "", "JSON that changes the made object"),
];

/// `--save-config`.
pub const SAVE_CONFIG: &[Flag] =
    &[Flag::switch("save-config", "Keep the configuration in the object's annotation, for a later apply")];

/// `--chunk-size`.
pub const CHUNK: &[Flag] =
    &[Flag::new("chunk-size", Kind::Integer, "500", "Objects per answer; 0 is all at once")];

/// `-A`.
pub const ALL_NAMESPACES: &[Flag] = &[Flag::switch("all-namespaces", "Look in every namespace").short('A')];
