//! Names that people give things, and reasons that they give: short text that can be shown on one line.

use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// Characters of a name.
const CHARACTERS_MAX: usize = 200;
/// As documents write the rule: something that can be seen, and no control characters.
const PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

/// For `#[garde(custom(is_name))]`: 1 to 200 characters, none of them a control character, not all blank.
pub fn is_name(name: &str, _: &()) -> garde::Result {
    let fits = (1..=CHARACTERS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    let rule = "must be 1 to 200 characters without control characters";
    if fits && !name.trim().is_empty() { Ok(()) } else { Err(garde::Error::new(rule)) }
}

/// For `#[schema(schema_with = name)]`.
pub fn name() -> Schema {
    named(CHARACTERS_MAX)
}

/// The same for names of people, `#[schema(schema_with = short_name)]`: 1 to 100 characters.
pub fn short_name() -> Schema {
    named(100)
}

fn named(characters_max: usize) -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(PATTERN));
    let text = text.min_length(Some(1)).max_length(Some(characters_max));
    text.description(Some(format!("1 to {characters_max} characters."))).into()
}
