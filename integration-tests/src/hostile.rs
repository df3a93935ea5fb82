//! What a broken or wicked client may send: messages made from a method's descriptor, wrong in one way each.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// How deep nested messages are filled.
const DEPTH: usize = 3;
/// Entries of a huge list; the message stays below the size a server takes.
const HUGE: usize = 5_000;

/// A message and what is wrong with it.
pub struct Hostile {
    /// What is wrong.
    pub kind: &'static str,
    /// The message.
    pub message: DynamicMessage,
}

/// Every kind of hostile message for a request.
#[must_use]
pub fn messages(request: &MessageDescriptor) -> Vec<Hostile> {
    let long = "x".repeat(20_000);
    let filled = |kind, text: &str, number: i64, entries: usize| Hostile {
        kind,
        message: fill(request, text, number, entries, DEPTH),
    };
    vec![
        Hostile { kind: "empty", message: DynamicMessage::new(request.clone()) },
        filled("over-long texts", &long, 0, 1),
        filled("wrong codes", "ZZ'; drop table feed; --", -1, 1),
        filled("wrong dates", "2026-02-30", i64::MAX, 1),
        filled("control characters", "\u{0}\n\u{7f}\u{202e}", i64::MIN, 2),
        filled("huge lists", "9", 1, HUGE),
    ]
}

fn fill(
    descriptor: &MessageDescriptor,
    text: &str,
    number: i64,
    entries: usize,
    depth: usize,
) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let Some(value) = value(&field, text, number, entries, depth) else { continue };
        if field.is_list() {
            message.set_field(&field, Value::List(vec![value; entries]));
        } else if !field.is_map() {
            message.set_field(&field, value);
        }
    }
    message
}

fn value(field: &FieldDescriptor, text: &str, number: i64, entries: usize, depth: usize) -> Option<Value> {
    Some(match field.kind() {
        Kind::String => Value::String(text.to_owned()),
        Kind::Bytes => Value::Bytes(text.as_bytes().to_vec().into()),
        Kind::Bool => Value::Bool(true),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            Value::I32(i32::try_from(number.clamp(i32::MIN.into(), i32::MAX.into())).ok()?)
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(u32::MAX),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::MAX),
        Kind::Double => Value::F64(f64::NAN),
        Kind::Float => Value::F32(f32::INFINITY),
        Kind::Enum(_) => Value::EnumNumber(9_999),
        // Lists within lists would grow past any size a server takes.
        Kind::Message(inner) if depth > 0 => {
            Value::Message(fill(&inner, text, number, if field.is_list() { 1 } else { entries }, depth - 1))
        }
        Kind::Message(_) => return None,
    })
}
