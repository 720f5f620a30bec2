//! Reading templates.

use serde_json::{Number, Value};

use super::{Node, Operand, Pipeline};

/// Blocks within blocks, and parentheses within parentheses, at most: they are read and performed by recursion.
const DEPTH_MAX: usize = 100;

/// What an open block is.
enum Open {
    If { condition: Pipeline, with: bool, chained: bool },
    Range { key: Option<String>, value: Option<String>, over: Pipeline },
}

struct Block {
    open: Open,
    then: Vec<Node>,
    otherwise: Option<Vec<Node>>,
}

#[derive(Default)]
struct Parser {
    top: Vec<Node>,
    blocks: Vec<Block>,
}

/// Reads a template.
pub(super) fn template(text: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser::default();
    let mut rest = text;
    let mut trim_next = false;
    while !rest.is_empty() {
        let open = rest.find("{{");
        let mut plain = &rest[..open.unwrap_or(rest.len())];
        if trim_next {
            plain = plain.trim_start();
        }
        let Some(open) = open else {
            parser.push(Node::Text(plain.to_owned()));
            break;
        };
        let inner = &rest[open + 2..];
        let end = closing(inner).ok_or("template: output:1: unclosed action")?;
        let (mut action, after) = (&inner[..end], &inner[end + 2..]);
        if let Some(trimmed) = action.strip_prefix("- ") {
            plain = plain.trim_end();
            action = trimmed;
        }
        trim_next = action.ends_with(" -");
        if trim_next {
            action = &action[..action.len() - 2];
        }
        if !plain.is_empty() {
            parser.push(Node::Text(plain.to_owned()));
        }
        parser.action(action.trim())?;
        rest = after;
    }
    if parser.blocks.is_empty() { Ok(parser.top) } else { Err("unexpected EOF".into()) }
}

fn closing(text: &str) -> Option<usize> {
    if text.trim_start().trim_start_matches("- ").starts_with("/*") {
        let comment = text.find("*/")?;
        return text[comment..].find("}}").map(|at| comment + at);
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '`') => quote = Some(c),
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}

impl Parser {
    fn push(&mut self, node: Node) {
        match self.blocks.last_mut() {
            Some(Block { otherwise: Some(nodes), .. }) => nodes.push(node),
            Some(block) => block.then.push(node),
            None => self.top.push(node),
        }
    }

    fn open(&mut self, open: Open) -> Result<(), String> {
        if self.blocks.len() >= DEPTH_MAX {
            return Err(format!("blocks are nested more than {DEPTH_MAX} deep"));
        }
        self.blocks.push(Block { open, then: Vec::new(), otherwise: None });
        Ok(())
    }

    fn action(&mut self, text: &str) -> Result<(), String> {
        if text.starts_with("/*") {
            return Ok(());
        }
        let (word, rest) =
            text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()));
        match word {
            "if" => self.open(Open::If { condition: pipeline(rest)?, with: false, chained: false })?,
            "with" => self.open(Open::If { condition: pipeline(rest)?, with: true, chained: false })?,
            "range" => {
                let (names, over) = match rest.split_once(":=") {
                    Some((names, over)) => (names, over),
                    None => ("", rest),
                };
                let mut names: Vec<String> = names
                    .split(',')
                    .map(|name| name.trim().to_owned())
                    .filter(|name| !name.is_empty())
                    .collect();
                let value = names.pop();
                self.open(Open::Range { key: names.pop(), value, over: pipeline(over.trim())? })?;
            }
            "else" => {
                let block = self.blocks.last_mut().ok_or("unexpected {{else}}")?;
                block.otherwise = Some(Vec::new());
                if let Some(condition) = rest.strip_prefix("if ") {
                    self.open(Open::If {
                        condition: pipeline(condition.trim())?,
                        with: false,
                        chained: true,
                    })?;
                }
            }
            "end" => self.end()?,
            _ => {
                let node = match text.split_once(":=") {
                    Some((name, value)) if name.trim().starts_with('$') && !name.contains('"') => {
                        Node::Print(Some(name.trim().to_owned()), pipeline(value.trim())?)
                    }
                    _ => Node::Print(None, pipeline(text)?),
                };
                self.push(node);
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        loop {
            let Block { open, then, otherwise } = self.blocks.pop().ok_or("unexpected {{end}}")?;
            let otherwise = otherwise.unwrap_or_default();
            match open {
                Open::If { condition, with, chained } => {
                    self.push(Node::If { condition, then, otherwise, with });
                    if !chained {
                        return Ok(());
                    }
                }
                Open::Range { key, value, over } => {
                    self.push(Node::Range { key, value, over, body: then, otherwise });
                    return Ok(());
                }
            }
        }
    }
}

fn pipeline(text: &str) -> Result<Pipeline, String> {
    let mut words = Words { rest: text, depth: 0 };
    let pipeline = words.pipeline()?;
    if words.rest.trim().is_empty() {
        Ok(pipeline)
    } else {
        Err(format!("unexpected {:?} in operand", words.rest))
    }
}

struct Words<'a> {
    rest: &'a str,
    /// Open parentheses.
    depth: usize,
}

impl Words<'_> {
    fn pipeline(&mut self) -> Result<Pipeline, String> {
        let mut commands = vec![Vec::new()];
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.chars().next() {
                None | Some(')') => break,
                Some('|') => {
                    self.rest = &self.rest[1..];
                    commands.push(Vec::new());
                }
                Some(_) => {
                    let operand = self.operand()?;
                    commands.last_mut().ok_or("missing command")?.push(operand);
                }
            }
        }
        if commands.iter().any(Vec::is_empty) {
            Err("missing value for command".into())
        } else {
            Ok(commands)
        }
    }

    fn operand(&mut self) -> Result<Operand, String> {
        let first = self.rest.chars().next().unwrap_or(' ');
        match first {
            '(' => {
                self.rest = &self.rest[1..];
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err("max expression depth exceeded".into());
                }
                let pipeline = self.pipeline()?;
                self.depth -= 1;
                self.rest = self.rest.strip_prefix(')').ok_or("unclosed left paren")?;
                let path = self.word();
                Ok(Operand::Nested(pipeline, split(path)))
            }
            '"' => {
                let end = quoted_end(self.rest).ok_or("unterminated quoted string")?;
                let text = serde_json::from_str(&self.rest[..end]).map_err(|_| "invalid syntax in string")?;
                self.rest = &self.rest[end..];
                Ok(Operand::Literal(text))
            }
            '`' => {
                let end = self.rest[1..].find('`').ok_or("unterminated raw quoted string")? + 1;
                let text = self.rest[1..end].to_owned();
                self.rest = &self.rest[end + 1..];
                Ok(Operand::Literal(Value::String(text)))
            }
            '.' => {
                let path = self.word();
                Ok(Operand::Field(split(path)))
            }
            '$' => {
                let word = self.word();
                let (name, path) = word.split_once('.').unwrap_or((word, ""));
                Ok(Operand::Variable(name.to_owned(), split(path)))
            }
            _ => {
                let word = self.word();
                literal(word).ok_or_else(|| format!("unexpected {word:?} in operand"))
            }
        }
    }
}

impl<'a> Words<'a> {
    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || matches!(c, ')' | '(' | '|'))
            .unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.rest = &self.rest[end..];
        word
    }
}

fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn split(path: &str) -> Vec<String> {
    path.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn literal(word: &str) -> Option<Operand> {
    Some(match word {
        "true" => Operand::Literal(Value::Bool(true)),
        "false" => Operand::Literal(Value::Bool(false)),
        "nil" => Operand::Literal(Value::Null),
        _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            let number = word
                .parse::<i64>()
                .map(Number::from)
                .ok()
                .or_else(|| Number::from_f64(word.parse().ok()?))?;
            Operand::Literal(Value::Number(number))
        }
        _ if !word.is_empty() => Operand::Function(word.to_owned()),
        _ => return None,
    })
}
