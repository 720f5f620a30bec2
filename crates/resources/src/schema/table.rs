//! The shape of the derived tables: definitions with their fields, as constants that need no work at start.

use std::sync::OnceLock;

use crate::generated::definitions::DEFINITIONS;

/// A type of upstream's API.
#[derive(Debug)]
pub struct Definition {
    /// Name in the OpenAPI document: `io.k8s.api.core.v1.Pod`.
    pub name: &'static str,
    /// Name in Go: `v1.Pod`.
    pub go_name: &'static str,
    /// Set for types that Go reads and writes with code of their own.
    pub special: Option<Type>,
    /// Whether server-side apply takes it as one value (`x-kubernetes-map-type: atomic`).
    pub atomic: bool,
    /// The kinds (group, version, kind) it stands for.
    pub kinds: &'static [(&'static str, &'static str, &'static str)],
    /// Indices of the fields in the order of their protobuf numbers; empty where that is their own order.
    pub order: &'static [u8],
    /// Fields in the order of Go's struct.
    pub fields: &'static [Field],
}

/// A field of a definition.
#[derive(Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: &'static str,
    /// Go's type without the leading star: `[]v1.ContainerPort`.
    pub go_type: &'static str,
    /// Go's names of the embedded structs it stands in, each with a dot: `ProbeHandler.`.
    pub embedded: &'static str,
    /// Type.
    pub ty: Type,
    /// Whether Go holds it by pointer, so that a zero value is not the same as an absent one.
    pub pointer: bool,
    /// When it is left out.
    pub omit: Omit,
    /// Whether the OpenAPI document lists it as required.
    pub required: bool,
    /// Field number in protobuf; 0 where there is none.
    pub number: u8,
    /// Numbers of the embedded messages around it in protobuf, outermost first; 0 where there is none.
    pub within: [u8; 2],
    /// Whether a list, or the lists in a map, have a message of their own in protobuf.
    pub wrapped: bool,
    /// How lists and maps merge.
    pub merge: Option<&'static Merge>,
}

/// When a field is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Omit {
    /// Always written, as `null` if unset.
    Never,
    /// When empty (`omitempty`): structs never are.
    Empty,
    /// When zero (`omitzero`).
    Zero,
}

/// How a list or map merges.
#[derive(Debug, PartialEq, Eq)]
pub struct Merge {
    /// `atomic`, `map`, `set`, `granular` or empty.
    pub list_type: &'static str,
    /// Keys of a list of type `map`.
    pub list_map_keys: &'static [&'static str],
    /// `merge`, `replace`, `retainKeys`, `merge,retainKeys` or empty.
    pub patch_strategy: &'static str,
    /// Key by which strategic merge patches match elements.
    pub patch_merge_key: &'static str,
}

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Type {
    Text,
    Bool,
    Int32,
    Int64,
    Float,
    /// Base64 in JSON.
    Bytes,
    Quantity,
    Time,
    MicroTime,
    Duration,
    IntOrString,
    /// Anything, kept as it is (`RawExtension`, `FieldsV1`, `JSON`).
    Raw,
    /// `JSONSchemaPropsOrArray`.
    SchemaOrArray,
    /// `JSONSchemaPropsOrBool`.
    SchemaOrBool,
    /// `JSONSchemaPropsOrStringArray`.
    SchemaOrStrings,
    /// A definition, by its place in the table.
    Struct(u16),
    List(&'static Type),
    Map(&'static Type),
}

impl Definition {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Go's name without the package: `Pod`.
    pub fn short_name(&self) -> &'static str {
        self.go_name.rsplit_once('.').map_or(self.go_name, |(_, name)| name)
    }
}

impl Field {
    /// Names of the patch strategies (`merge`, `retainKeys`).
    pub fn patch_strategies(&self) -> impl Iterator<Item = &'static str> {
        self.merge.map_or("", |merge| merge.patch_strategy).split(',').filter(|name| !name.is_empty())
    }

    /// The key of strategic merge patches, or empty.
    pub fn patch_merge_key(&self) -> &'static str {
        self.merge.map_or("", |merge| merge.patch_merge_key)
    }
}

impl Type {
    /// The definition this type is.
    pub fn definition(self) -> Option<&'static Definition> {
        match self {
            Type::Struct(index) => DEFINITIONS.get(usize::from(index)),
            _ => None,
        }
    }

    /// The definition of what is inside lists and maps of this type.
    pub fn innermost(self) -> Option<&'static Definition> {
        match self {
            Type::List(of) | Type::Map(of) => of.innermost(),
            other => other.definition(),
        }
    }

    /// Go's name of the type, where a field does not tell.
    pub fn go_name(self) -> &'static str {
        match self {
            Type::Text => "string",
            Type::Bool => "bool",
            Type::Int32 => "int32",
            Type::Int64 => "int64",
            Type::Float => "float64",
            Type::Bytes => "[]uint8",
            Type::Quantity => "resource.Quantity",
            Type::Time => "v1.Time",
            Type::MicroTime => "v1.MicroTime",
            Type::Duration => "v1.Duration",
            Type::IntOrString => "intstr.IntOrString",
            Type::Struct(_) => self.definition().map_or("", |definition| definition.go_name),
            _ => "interface {}",
        }
    }
}

/// The definition of this name.
pub fn definition(name: &str) -> Option<&'static Definition> {
    DEFINITIONS.binary_search_by(|definition| definition.name.cmp(name)).ok().map(|at| &DEFINITIONS[at])
}

/// Every definition, sorted by name.
pub fn definitions() -> &'static [Definition] {
    &DEFINITIONS
}

/// `JSONSchemaProps` of apiextensions.
pub(crate) fn json_schema_props() -> &'static Definition {
    static PROPS: OnceLock<&'static Definition> = OnceLock::new();
    PROPS.get_or_init(|| {
        definition("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
            .expect("the derived tables hold JSONSchemaProps")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_closed() {
        assert!(DEFINITIONS.is_sorted_by(|a, b| a.name < b.name));
        for definition in definitions() {
            for field in definition.fields {
                if let Some(inner) = field.ty.innermost() {
                    assert!(inner.special.is_none(), "{} {}", definition.name, field.name);
                }
            }
        }
    }

    #[test]
    fn facts_are_upstreams() {
        let pod = definition("io.k8s.api.core.v1.PodSpec").unwrap();
        let containers = pod.field("containers").unwrap();
        assert_eq!(containers.go_type, "[]v1.Container");
        assert_eq!((containers.patch_merge_key(), containers.number), ("name", 2));
        assert_eq!(containers.patch_strategies().collect::<Vec<_>>(), ["merge"]);
        assert!(pod.field("volumes").unwrap().patch_strategies().eq(["merge", "retainKeys"]));
        let ports = definition("io.k8s.api.core.v1.Container").unwrap().field("ports").unwrap();
        assert_eq!(ports.merge.unwrap().list_map_keys, ["containerPort", "protocol"]);
    }
}
