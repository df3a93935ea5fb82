//! The contracts as their readers see them: methods, fields and reasons with their comments and options, read from the
//! descriptor set.

use std::collections::BTreeMap;

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value,
};

/// Every contract of the mesh.
pub(crate) struct Contract {
    pub(crate) packages: Vec<Package>,
}

/// One package, e.g. `jkn.referral.v1`.
pub(crate) struct Package {
    pub(crate) name: String,
    /// What the files of its services say at their head.
    pub(crate) about: String,
    pub(crate) services: Vec<Service>,
    /// Messages that are neither request nor response of a method.
    pub(crate) messages: Vec<Message>,
    pub(crate) enums: Vec<Enumeration>,
    pub(crate) reasons: Vec<Reason>,
}

pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) methods: Vec<Method>,
}

pub(crate) struct Method {
    pub(crate) name: String,
    /// `jkn.referral.v1.ReferralService.CreateReferral`.
    pub(crate) full_name: String,
    /// `/jkn.referral.v1.ReferralService/CreateReferral`.
    pub(crate) path: String,
    /// What it returns.
    pub(crate) about: String,
    /// What its comment says after "Fails with:"; `None` when it does not say.
    pub(crate) fails: Option<String>,
    /// The names of reasons in `fails`.
    pub(crate) reasons: Vec<String>,
    /// The kinds of institution that may call it.
    pub(crate) callers: Vec<String>,
    pub(crate) writes: bool,
    pub(crate) idempotent: bool,
    /// Verb, path and body of its HTTP binding.
    pub(crate) http: Option<(String, String, String)>,
    pub(crate) request: Message,
    pub(crate) response: Message,
    pub(crate) streams_requests: bool,
    pub(crate) streams_responses: bool,
}

pub(crate) struct Message {
    pub(crate) full_name: String,
    pub(crate) about: String,
    pub(crate) fields: Vec<Field>,
}

pub(crate) struct Field {
    pub(crate) name: String,
    /// How its type is written in a contract.
    pub(crate) kind: String,
    /// Full name of its type, when it is a message or an enum of the mesh.
    pub(crate) of: Option<String>,
    pub(crate) data_class: String,
    /// The group of which exactly one may be given.
    pub(crate) oneof: Option<String>,
    pub(crate) about: String,
}

pub(crate) struct Enumeration {
    pub(crate) full_name: String,
    pub(crate) about: String,
    /// Name and comment of each value.
    pub(crate) values: Vec<(String, String)>,
}

/// A reason that methods fail with.
pub(crate) struct Reason {
    /// As `ErrorInfo` carries it, without the prefix.
    pub(crate) name: String,
    /// What happened.
    pub(crate) happened: String,
    /// What to do next; `None` when its comment does not say.
    pub(crate) next: Option<String>,
}

impl Contract {
    /// Reads the descriptor set of the mesh.
    pub(crate) fn read(pool: &DescriptorPool) -> Self {
        let mut packages: BTreeMap<String, Vec<FileDescriptor>> = BTreeMap::new();
        for file in pool.files().filter(|file| file.package_name().starts_with("jkn.")) {
            packages.entry(file.package_name().to_owned()).or_default().push(file);
        }
        packages.remove("jkn.options.v1");
        let options = Options::of(pool);
        let packages = packages.into_iter().map(|(name, files)| package(name, &files, &options)).collect();
        Self { packages }
    }

    pub(crate) fn methods(&self) -> impl Iterator<Item = &Method> {
        self.packages.iter().flat_map(|package| &package.services).flat_map(|service| &service.methods)
    }

    pub(crate) fn reasons(&self) -> impl Iterator<Item = (&Package, &Reason)> {
        self.packages.iter().flat_map(|package| package.reasons.iter().map(move |reason| (package, reason)))
    }

    /// What keeps the contracts from being documented, one line a fault.
    pub(crate) fn faults(&self) -> Vec<String> {
        let known: Vec<_> = self.reasons().map(|(_, reason)| reason.name.as_str()).collect();
        let mut faults = Vec::new();
        for method in self.methods() {
            match &method.fails {
                None => faults.push(format!("{}: its comment has no line \"Fails with:\"", method.full_name)),
                Some(_) if method.reasons.is_empty() => {
                    faults.push(format!("{}: \"Fails with:\" names no reason", method.full_name));
                }
                Some(_) => {}
            }
            for reason in method.reasons.iter().filter(|reason| !known.contains(&reason.as_str())) {
                faults.push(format!("{}: fails with {reason}, which no enum Reason has", method.full_name));
            }
        }
        for (package, reason) in self.reasons().filter(|(_, reason)| reason.next.is_none()) {
            faults.push(format!("{}.{}: its comment has no sentence \"Next: …\"", package.name, reason.name));
        }
        faults
    }
}

/// The options that the contracts carry.
struct Options {
    data_class: prost_reflect::ExtensionDescriptor,
    policy: prost_reflect::ExtensionDescriptor,
    http: prost_reflect::ExtensionDescriptor,
}

impl Options {
    fn of(pool: &DescriptorPool) -> Self {
        let named = |name: &str| {
            pool.get_extension_by_name(name)
                .unwrap_or_else(|| panic!("the descriptor set has no option {name}"))
        };
        Self {
            data_class: named("jkn.options.v1.data_class"),
            policy: named("jkn.options.v1.policy"),
            http: named("google.api.http"),
        }
    }
}

fn package(name: String, files: &[FileDescriptor], options: &Options) -> Package {
    let services: Vec<_> = files
        .iter()
        .flat_map(FileDescriptor::services)
        .map(|service| Service {
            name: service.name().to_owned(),
            about: comment(&service.parent_file(), service.path()),
            methods: service.methods().map(|it| method(&it, options)).collect(),
        })
        .collect();
    let of_methods: Vec<_> = services
        .iter()
        .flat_map(|service| &service.methods)
        .flat_map(|method| [method.request.full_name.clone(), method.response.full_name.clone()])
        .collect();
    let mut all_messages = Vec::new();
    let mut all_enums: Vec<EnumDescriptor> = files.iter().flat_map(FileDescriptor::enums).collect();
    for found in files.iter().flat_map(FileDescriptor::messages) {
        nested(found, &mut all_messages, &mut all_enums);
    }
    let (of_reasons, of_words): (Vec<_>, Vec<_>) =
        all_enums.into_iter().partition(|it| it.name() == "Reason");
    Package {
        about: files.iter().filter(|file| file.services().len() > 0).map(head).collect::<Vec<_>>().join(" "),
        messages: all_messages
            .iter()
            .filter(|it| !of_methods.iter().any(|name| name == it.full_name()))
            .map(|it| message(it, options))
            .collect(),
        enums: of_words.iter().map(enumeration).collect(),
        reasons: of_reasons.iter().flat_map(reasons).collect(),
        services,
        name,
    }
}

fn nested(found: MessageDescriptor, messages: &mut Vec<MessageDescriptor>, enums: &mut Vec<EnumDescriptor>) {
    if found.is_map_entry() {
        return;
    }
    enums.extend(found.child_enums());
    let children: Vec<_> = found.child_messages().collect();
    messages.push(found);
    for child in children {
        nested(child, messages, enums);
    }
}

fn method(it: &MethodDescriptor, options: &Options) -> Method {
    let text = comment(&it.parent_file(), it.path());
    let (about, fails) = match text.split_once("Fails with:") {
        None => (text.clone(), None),
        Some((about, fails)) => (about.trim().to_owned(), Some(fails.trim().to_owned())),
    };
    let set = it.options();
    let policy = set.get_extension(&options.policy);
    let policy = policy.as_message();
    let callers =
        policy.and_then(|policy| policy.get_field_by_name("callers").map(std::borrow::Cow::into_owned));
    let callers = match callers {
        Some(Value::List(kinds)) => {
            kinds.iter().filter_map(|kind| caller(policy?, kind.as_enum_number()?)).collect()
        }
        _ => Vec::new(),
    };
    let effect = policy.and_then(|policy| policy.get_field_by_name("effect")?.as_enum_number());
    Method {
        name: it.name().to_owned(),
        full_name: it.full_name().to_owned(),
        path: format!("/{}/{}", it.parent_service().full_name(), it.name()),
        about,
        reasons: fails.as_deref().map(names_of_reasons).unwrap_or_default(),
        fails,
        callers,
        writes: effect == Some(2),
        idempotent: policy.is_some_and(|policy| {
            policy.get_field_by_name("idempotent").and_then(|value| value.as_bool()).unwrap_or_default()
        }),
        http: set
            .has_extension(&options.http)
            .then(|| binding(set.get_extension(&options.http).as_message()))
            .flatten(),
        request: message(&it.input(), options),
        response: message(&it.output(), options),
        streams_requests: it.is_client_streaming(),
        streams_responses: it.is_server_streaming(),
    }
}

/// The kind of institution behind a number, as identities write it.
fn caller(policy: &DynamicMessage, number: i32) -> Option<String> {
    use prost_reflect::ReflectMessage;
    let Kind::Enum(kinds) = policy.descriptor().get_field_by_name("callers")?.kind() else { return None };
    let name = kinds.get_value(number)?.name().trim_start_matches("INSTITUTION_KIND_").to_ascii_lowercase();
    Some(name)
}

fn binding(rule: Option<&DynamicMessage>) -> Option<(String, String, String)> {
    let rule = rule?;
    let text = |name: &str| {
        let value = rule.get_field_by_name(name)?.as_str()?.to_owned();
        (!value.is_empty()).then_some(value)
    };
    let body = text("body").unwrap_or_default();
    ["get", "put", "post", "delete", "patch"]
        .into_iter()
        .find_map(|verb| Some((verb.to_ascii_uppercase(), text(verb)?, body.clone())))
}

fn message(it: &MessageDescriptor, options: &Options) -> Message {
    Message {
        full_name: it.full_name().to_owned(),
        about: comment(&it.parent_file(), it.path()),
        fields: it.fields().map(|it| field(&it, options)).collect(),
    }
}

fn field(it: &FieldDescriptor, options: &Options) -> Field {
    let (plain, of) = match it.kind() {
        Kind::Message(message) => (message.name().to_owned(), Some(message.full_name().to_owned())),
        Kind::Enum(words) => (words.name().to_owned(), Some(words.full_name().to_owned())),
        other => (format!("{other:?}").to_ascii_lowercase(), None),
    };
    let kind = if it.is_map() {
        "map".to_owned()
    } else if it.is_list() {
        format!("repeated {plain}")
    } else if it.field_descriptor_proto().proto3_optional() {
        format!("optional {plain}")
    } else {
        plain
    };
    let set = it.options();
    let class = set.get_extension(&options.data_class).as_enum_number();
    let class = class.and_then(|number| match options.data_class.kind() {
        Kind::Enum(classes) => {
            Some(classes.get_value(number)?.name().trim_start_matches("DATA_CLASS_").to_ascii_lowercase())
        }
        _ => None,
    });
    let parent = it.parent_message();
    Field {
        name: it.name().to_owned(),
        kind,
        of: of.filter(|name| name.starts_with("jkn.")),
        data_class: class.unwrap_or_default(),
        oneof: it
            .containing_oneof()
            .filter(|_| !it.field_descriptor_proto().proto3_optional())
            .map(|group| group.name().to_owned()),
        about: comment(&parent.parent_file(), it.path()),
    }
}

fn enumeration(it: &EnumDescriptor) -> Enumeration {
    let file = it.parent_file();
    Enumeration {
        full_name: it.full_name().to_owned(),
        about: comment(&file, it.path()),
        values: it.values().map(|value| (value.name().to_owned(), comment(&file, value.path()))).collect(),
    }
}

fn reasons(it: &EnumDescriptor) -> Vec<Reason> {
    let file = it.parent_file();
    let said = it.values().filter(|value| value.number() != 0);
    said.map(|value| {
        let text = comment(&file, value.path());
        let (happened, next) = match text.split_once("Next:") {
            None => (text.clone(), None),
            Some((happened, next)) => (happened.trim().to_owned(), Some(next.trim().to_owned())),
        };
        let next = next.filter(|next| !next.is_empty());
        Reason { name: value.name().trim_start_matches("REASON_").to_owned(), happened, next }
    })
    .collect()
}

/// The names in the text after "Fails with:": words of capitals. No abbreviation of the field is as long as a reason.
fn names_of_reasons(text: &str) -> Vec<String> {
    let words = text.split(|c: char| {
        !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c.is_ascii_lowercase())
    });
    let mut names: Vec<String> = Vec::new();
    for word in words.filter(|word| {
        (word.len() >= 7 || word.contains('_')) && !word.bytes().any(|byte| byte.is_ascii_lowercase())
    }) {
        if !names.iter().any(|known| known == word) {
            names.push(word.to_owned());
        }
    }
    names
}

/// The comment above an element, in one line.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let places = file.file_descriptor_proto().source_code_info.as_ref().map(|info| info.location.as_slice());
    let place = places.unwrap_or_default().iter().find(|place| place.path == path);
    one_line(place.map_or("", |place| place.leading_comments()))
}

/// What a file says at its head: before its syntax.
fn head(file: &FileDescriptor) -> String {
    const SYNTAX: [i32; 1] = [12];
    comment(file, &SYNTAX)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(fails: Option<&str>) -> Method {
        let message = || Message { full_name: String::new(), about: String::new(), fields: Vec::new() };
        Method {
            name: "Do".to_owned(),
            full_name: "jkn.x.v1.XService.Do".to_owned(),
            path: "/jkn.x.v1.XService/Do".to_owned(),
            about: "Does.".to_owned(),
            reasons: fails.map(names_of_reasons).unwrap_or_default(),
            fails: fails.map(str::to_owned),
            callers: Vec::new(),
            writes: false,
            idempotent: true,
            http: None,
            request: message(),
            response: message(),
            streams_requests: false,
            streams_responses: false,
        }
    }

    fn contract(fails: Option<&str>, next: Option<&str>) -> Contract {
        let service =
            Service { name: "XService".to_owned(), about: String::new(), methods: vec![method(fails)] };
        let reason = Reason {
            name: "NOT_FOUND".to_owned(),
            happened: "There is none.".to_owned(),
            next: next.map(str::to_owned),
        };
        Contract {
            packages: vec![Package {
                name: "jkn.x.v1".to_owned(),
                about: String::new(),
                services: vec![service],
                messages: Vec::new(),
                enums: Vec::new(),
                reasons: vec![reason],
            }],
        }
    }

    #[test]
    fn reasons_are_told_from_the_abbreviations_of_the_field() {
        let text = "NOT_FOUND, INTERNAL; a row of a SEP or an FKTP names ROW_KEY_REUSED or NOT_FOUND.";
        assert_eq!(names_of_reasons(text), ["NOT_FOUND", "INTERNAL", "ROW_KEY_REUSED"]);
    }

    #[test]
    fn what_a_comment_leaves_out_is_a_fault() {
        let faults = |fails, next| contract(fails, next).faults();
        assert!(faults(Some("NOT_FOUND."), Some("check the id.")).is_empty());
        assert!(faults(None, Some("check the id."))[0].contains("Fails with:"));
        assert!(faults(Some("nothing."), Some("check the id."))[0].contains("names no reason"));
        assert!(faults(Some("NOT_THERE."), Some("check the id."))[0].contains("NOT_THERE"));
        assert!(faults(Some("NOT_FOUND."), None)[0].contains("Next:"));
    }
}
