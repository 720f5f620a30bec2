//! Rules of authorization as rows of a table, for `auth can-i --list` and `describe` of roles: taken apart into single
//! resources, names and verbs, put together again where only verbs differ, and sorted as kubectl does.

use serde_json::Value;

/// The titles of the columns.
pub const TITLES: [&str; 4] = ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"];

/// A rule about one resource (or one path), with all its verbs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rule {
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    urls: Vec<String>,
    verbs: Vec<String>,
}

impl Rule {
    /// kubectl sorts by the text that Go makes of the rule.
    fn sort_key(&self) -> String {
        let [verbs, groups, resources, names, urls] =
            [&self.verbs, &self.groups, &self.resources, &self.names, &self.urls].map(|list| words(list));
        format!(
            "&PolicyRule{{Verbs:{verbs},APIGroups:{groups},Resources:{resources},ResourceNames:{names},NonResourceURLs:{urls},}}"
        )
    }

    fn row(&self) -> [String; 4] {
        let resource = match (self.resources.first(), self.groups.first()) {
            (None, _) => String::new(),
            (Some(resource), group) => {
                let (name, subresource) = match resource.split_once('/') {
                    Some((name, rest)) => (name, format!("/{rest}")),
                    None => (resource.as_str(), String::new()),
                };
                let group = group.filter(|group| !group.is_empty()).map(|group| format!(".{group}"));
                format!("{name}{}{subresource}", group.unwrap_or_default())
            }
        };
        [resource, words(&self.urls), words(&self.names), words(&self.verbs)]
    }
}

fn words(list: &[String]) -> String {
    format!("[{}]", list.join(" "))
}

fn texts(rule: &Value, field: &str) -> Vec<String> {
    let list = rule[field].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The rows of these rules (`PolicyRule`, `ResourceRule`, `NonResourceRule`), without titles.
pub fn rows(rules: &[Value]) -> Vec<[String; 4]> {
    let mut found: Vec<Rule> = Vec::new();
    for rule in rules {
        let (verbs, names) = (texts(rule, "verbs"), texts(rule, "resourceNames"));
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let one = Rule { groups: vec![group.clone()], resources: vec![resource], ..Rule::default() };
                match names.as_slice() {
                    [] => add(&mut found, &one, &verbs),
                    names => names.iter().for_each(|name| {
                        add(&mut found, &Rule { names: vec![name.clone()], ..one.clone() }, &verbs);
                    }),
                }
            }
        }
        for url in texts(rule, "nonResourceURLs") {
            let single = |verb: &String| Rule {
                urls: vec![url.clone()],
                verbs: vec![verb.clone()],
                ..Rule::default()
            };
            found.extend(verbs.iter().map(single));
        }
    }
    found.sort_by_key(Rule::sort_key);
    found.iter().map(Rule::row).collect()
}

/// Adds verbs to the rule about the same resource and name, or the rule itself.
fn add(found: &mut Vec<Rule>, rule: &Rule, verbs: &[String]) {
    let same = |own: &&mut Rule| {
        own.urls.is_empty()
            && (&own.groups, &own.resources, &own.names) == (&rule.groups, &rule.resources, &rule.names)
    };
    match found.iter_mut().find(same) {
        Some(own) => {
            for verb in verbs {
                if !own.verbs.contains(verb) {
                    own.verbs.push(verb.clone());
                }
            }
        }
        None if !verbs.is_empty() => found.push(Rule { verbs: verbs.to_vec(), ..rule.clone() }),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_taken_apart_and_put_together() {
        let rules = [
            json!({"apiGroups": ["apps", ""], "resources": ["deployments/scale"], "verbs": ["get", "list"]}),
            json!({"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["list", "watch"]}),
            json!({"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a", "b"], "verbs": ["get"]}),
            json!({"nonResourceURLs": ["/x", "/y"], "verbs": ["get", "put"]}),
        ];
        let found: Vec<String> = rows(&rules).iter().map(|row| row.join("|")).collect();
        assert_eq!(
            found,
            [
                "deployments.apps/scale|[]|[]|[get list watch]",
                "deployments/scale|[]|[]|[get list]",
                "|[/x]|[]|[get]",
                "|[/y]|[]|[get]",
                "pods|[]|[a]|[get]",
                "pods|[]|[b]|[get]",
                "|[/x]|[]|[put]",
                "|[/y]|[]|[put]",
            ]
        );
    }
}
