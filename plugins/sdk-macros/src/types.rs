//! What a signature's types say, as far as it can be read from how they are written.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{AssocType, GenericArgument, PathArguments, PathSegment, ReturnType, Type, TypeParamBound};

fn last(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn first_argument(segment: &PathSegment) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// `Bytes` or `Payload`.
pub(crate) fn is_raw(ty: &Type) -> bool {
    last(ty).is_some_and(|segment| segment.ident == "Bytes" || segment.ident == "Payload")
}

/// What `Requests<…>` holds.
pub(crate) fn requests(ty: &Type) -> Option<&Type> {
    last(ty).filter(|segment| segment.ident == "Requests").and_then(first_argument)
}

/// What a `PluginResult<…>` or `Result<…, …>` holds.
pub(crate) fn fallible(ty: &Type) -> syn::Result<&Type> {
    last(ty)
        .filter(|segment| segment.ident == "PluginResult" || segment.ident == "Result")
        .and_then(first_argument)
        .ok_or_else(|| syn::Error::new_spanned(ty, "this is no result; write `PluginResult<…>` around it"))
}

/// What a method's `PluginResult<…>` holds.
pub(crate) fn outcome(signature: &syn::Signature) -> syn::Result<&Type> {
    match &signature.output {
        ReturnType::Default => Err(syn::Error::new(
            signature.ident.span(),
            "an operation returns `PluginResult<…>`; return `google.protobuf.Empty` where there is nothing to say",
        )),
        ReturnType::Type(_, ty) => fallible(ty),
    }
}

/// The message type that a stream yields, and how it is written when that can be seen.
pub(crate) fn yielded(ty: &Type) -> syn::Result<(TokenStream, Option<&Type>)> {
    let Type::ImplTrait(opaque) = ty else {
        let item = quote!(<#ty as ::prism_plugin_sdk::macros::Stream>::Item);
        return Ok((quote!(<#item as ::prism_plugin_sdk::macros::Fallible>::Value), None));
    };
    let bound = opaque.bounds.iter().find_map(|bound| match bound {
        TypeParamBound::Trait(bound) => bound.path.segments.last().filter(|last| last.ident == "Stream"),
        _ => None,
    });
    let item = bound.and_then(|segment| match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().find_map(|argument| match argument {
                GenericArgument::AssocType(AssocType { ident, ty, .. }) if ident == "Item" => Some(ty),
                _ => None,
            })
        }
        _ => None,
    });
    let Some(item) = item else {
        let message = "a stream is written `impl Stream<Item = PluginResult<…>> + Send + 'static`";
        return Err(syn::Error::new_spanned(ty, message));
    };
    let value = fallible(item)?;
    Ok((value.to_token_stream(), Some(value)))
}
