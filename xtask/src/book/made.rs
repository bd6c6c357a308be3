//! What the agent makes for a page: the table of a part of its schema, and the picture of a graph.
//! Each has a command, what of its output goes on record, and its look. Pure; it runs nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::topology::escape;

/// What every resource takes, in the table of `resource` and in no other.
const COMMON: [&str; 6] = ["name", "meta", "hosts", "export", "hidden", "recv"];

/// Something that the agent makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// The fields of a part of the schema: a definition of it, or `resource` for what all kinds
    /// share.
    Fields(String),
    /// The picture of a graph file in the node, or of the graph that its agent runs: `running`.
    Graph(String),
}

impl Made {
    /// What is run in the node.
    pub(crate) fn command(&self) -> String {
        match self {
            Made::Fields(_) => "quorate schema".to_owned(),
            Made::Graph(file) if file == "running" => "quorate graph --format svg".to_owned(),
            Made::Graph(file) => format!("quorate graph {file} --format svg"),
        }
    }

    /// The lines for the record, or why there are none.
    pub(crate) fn lines(&self, output: Vec<String>) -> Result<Vec<String>, String> {
        match self {
            Made::Fields(part) => fields(part, &output.join("\n")),
            Made::Graph(_) if output.first().is_some_and(|line| line.starts_with("<svg")) => {
                Ok(output)
            }
            Made::Graph(_) => Err(format!("that is no picture: {}", output.join(" "))),
        }
    }

    /// The recorded lines as a page shows them.
    pub(crate) fn html(&self, id: &str, lines: &[String], caption: &str) -> String {
        let (id, caption) = (escape(id), escape(caption));
        match self {
            Made::Fields(_) => {
                let rows: String = lines.iter().map(|line| row(line)).collect();
                format!(
                    "<table class=\"fields\" id=\"{id}\"><thead><tr><th>field</th><th>value</th>\
                     <th>meaning</th></tr></thead><tbody>{rows}</tbody></table>\n\n"
                )
            }
            // An image of its own: the styles of an SVG in the page would be those of the page.
            Made::Graph(_) => format!(
                "<figure class=\"graph\" id=\"{id}\"><img alt=\"{caption}\" \
                 src=\"data:image/svg+xml;base64,{}\"><figcaption>{caption}</figcaption></figure>\
                 \n\n",
                STANDARD.encode(lines.join("\n"))
            ),
        }
    }
}

fn row(line: &str) -> String {
    let cells: String = line
        .splitn(3, '\t')
        .enumerate()
        .map(|(at, cell)| match at {
            0 => format!("<td><code>{}</code></td>", escape(cell)),
            _ => format!("<td>{}</td>", marked(cell)),
        })
        .collect();
    format!("<tr>{cells}</tr>")
}

/// Words between backquotes are code.
fn marked(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    pieces
        .map(|(at, piece)| match at % 2 {
            0 => escape(piece),
            _ => format!("<code>{}</code>", escape(piece)),
        })
        .collect()
}

/// The table of a part, one line a field: its name, its form and its meaning, with tabs between.
fn fields(part: &str, schema: &str) -> Result<Vec<String>, String> {
    let schema: Value = serde_json::from_str(schema).map_err(|why| why.to_string())?;
    let definitions = &schema["$defs"];
    let shared = part == "resource";
    let own = |name: &str| COMMON.contains(&name) == shared || !part.starts_with("resource");
    let definition = match shared {
        true => &definitions["resource-noop"],
        false => &definitions[part],
    };
    let mut lines = Vec::new();
    for properties in maps(definition) {
        for (name, field) in properties {
            if own(name) && field["deprecated"] != Value::Bool(true) {
                let meaning = field["description"].as_str().unwrap_or_default();
                lines.push(format!("{name}\t{}\t{meaning}", form(field)));
            }
        }
    }
    if lines.is_empty() {
        return Err(format!("the schema has no fields of `{part}`"));
    }
    Ok(lines)
}

/// The properties of a definition, also where it has several forms.
fn maps(definition: &Value) -> Vec<&serde_json::Map<String, Value>> {
    let forms = definition["anyOf"].as_array().into_iter().flatten();
    std::iter::once(definition)
        .chain(forms)
        .filter_map(|one| one["properties"].as_object())
        .collect()
}

/// What a field takes, in a word or two.
fn form(field: &Value) -> String {
    if let Some(name) = field["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap_or_default();
        let plain = match name {
            "bool" => "true or false",
            "int" => "number",
            "rate" => "number",
            "name" | "kind" => "text",
            "texts" => "list of texts",
            other => other,
        };
        return plain.to_owned();
    }
    if let Some(choices) = field["enum"].as_array() {
        let words = choices.iter().filter_map(Value::as_str);
        return words.map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ");
    }
    match &field["type"] {
        Value::String(one) => kind(one).to_owned(),
        Value::Array(all) => {
            let word = all.iter().filter_map(Value::as_str).find(|word| *word != "null");
            word.map(kind).unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

fn kind(word: &str) -> &str {
    match word {
        "array" => "list",
        "object" => "map",
        "string" => "text",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r##"{"$defs": {
        "resource-noop": {"properties": {
            "name": {"$ref": "#/$defs/name", "description": "the name"},
            "pollint": {"deprecated": true, "description": "does nothing"},
            "comment": {"$ref": "#/$defs/text", "description": "a `remark`"}}},
        "rule": {"properties": {
            "gone": {"enum": ["forget", "freeze", null], "description": "what then"},
            "allow": {"type": ["array", "null"], "description": "consents"}}},
        "hosts": {"anyOf": [{"type": "string"},
            {"properties": {"labels": {"$ref": "#/$defs/labels", "description": "all match"}}}]}
    }}"##;

    fn lines(part: &str) -> Result<Vec<String>, String> {
        Made::Fields(part.to_owned()).lines(SCHEMA.lines().map(str::to_owned).collect())
    }

    #[test]
    fn a_part_of_the_schema_becomes_one_line_for_each_field() {
        assert_eq!(lines("resource-noop"), Ok(vec!["comment\ttext\ta `remark`".to_owned()]));
        assert_eq!(lines("resource"), Ok(vec!["name\ttext\tthe name".to_owned()]));
        let rule = ["allow\tlist\tconsents", "gone\t`forget` `freeze`\twhat then"];
        assert_eq!(lines("rule"), Ok(rule.map(str::to_owned).to_vec()));
        assert_eq!(lines("hosts"), Ok(vec!["labels\tlabels\tall match".to_owned()]));
        assert!(lines("resource-flie").is_err_and(|why| why.contains("`resource-flie`")));
        assert!(Made::Fields("rule".into()).lines(vec!["no JSON".into()]).is_err());
    }

    #[test]
    fn what_is_shown_is_escaped_and_only_a_picture_is_a_picture() {
        let html = Made::Fields("rule".into()).html("a", &["<x>\ttext\t`<y>` & z".into()], "");
        let row = "<td><code>&lt;x&gt;</code></td><td>text</td><td><code>&lt;y&gt;</code> &amp; z";
        assert!(html.contains(row), "{html}");
        let graph = Made::Graph("site.yaml".into());
        assert_eq!(graph.command(), "quorate graph site.yaml --format svg");
        assert_eq!(Made::Graph("running".into()).command(), "quorate graph --format svg");
        assert!(graph.lines(vec!["error: no".into()]).is_err());
        let html = graph.html("g", &["<svg/>".into()], "\"two\"");
        assert!(html.contains("base64,PHN2Zy8+") && html.contains("&quot;two&quot;"), "{html}");
    }
}
