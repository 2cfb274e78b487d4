//! One `#[operation(…)]`: its words, its signature, and what is generated for it.

use crate::types;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Attribute, FnArg, Ident, ImplItemFn, LitStr, Receiver, Token, Type,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

/// What stands in the parentheses.
pub(crate) struct Words {
    pub(crate) name: LitStr,
    kind: Ident,
    idempotent: bool,
    raw: Option<Span>,
    stream: bool,
    bidi: bool,
}

impl Parse for Words {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if !input.peek(LitStr) {
            return Err(input.error("an operation begins with its name: `#[operation(\"name\", read)]`"));
        }
        let name: LitStr = input.parse()?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if name.value().is_empty() || !name.value().bytes().all(fits) {
            let message = "an operation's name is made of letters, digits, `_`, `-` and `.`";
            return Err(syn::Error::new(name.span(), message));
        }
        let (mut kind, mut raw) = (None::<Ident>, None);
        let (mut idempotent, mut stream, mut bidi) = (false, false, false);
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            if input.is_empty() {
                break;
            }
            let word: Ident = input.parse()?;
            let again = match &*word.to_string() {
                "read" | "write" | "admin" => match kind.replace(word.clone()) {
                    Some(before) if before != word => {
                        let message =
                            format!("the operation is `{before}` already; it is one of read, write, admin");
                        return Err(syn::Error::new(word.span(), message));
                    }
                    before => before.is_some(),
                },
                "idempotent" => std::mem::replace(&mut idempotent, true),
                "raw" => raw.replace(word.span()).is_some(),
                "stream" => std::mem::replace(&mut stream, true),
                "bidi" => std::mem::replace(&mut bidi, true),
                other => {
                    let known =
                        "after the kind (read, write, admin) there are idempotent, raw, stream and bidi";
                    return Err(syn::Error::new(word.span(), format!("unknown word `{other}`; {known}")));
                }
            };
            if again {
                return Err(syn::Error::new(word.span(), format!("`{word}` is said twice; leave one")));
            }
            if stream && bidi {
                let message = "`bidi` is a stream in both directions; leave `stream` away";
                return Err(syn::Error::new(word.span(), message));
            }
        }
        let Some(kind) = kind else {
            let message = format!(
                "what `{}` does is missing: add `read`, `write` or `admin`; authorization and retries rest on it",
                name.value()
            );
            return Err(syn::Error::new(name.span(), message));
        };
        Ok(Self { name, kind, idempotent, raw, stream, bidi })
    }
}

/// An operation, ready to be generated.
pub(crate) struct Operation {
    pub(crate) name: LitStr,
    pub(crate) streaming: bool,
    /// Its entry in the description, a statement that pushes to `own`.
    pub(crate) info: TokenStream,
    /// Its arm of the match.
    pub(crate) arm: TokenStream,
}

/// `&self`, or `self: &Arc<Self>`; says how `self: &Arc<Self>` is handed to it.
pub(crate) fn receiver(method: &ImplItemFn) -> syn::Result<TokenStream> {
    let by = "take `&self` (or `self: &Arc<Self>`): calls run at the same time on one instance";
    match method.sig.inputs.first() {
        Some(FnArg::Receiver(Receiver { colon_token: Some(_), ty, .. })) => match &**ty {
            Type::Reference(ty) if ty.mutability.is_none() => Ok(quote!(self)),
            other => Err(syn::Error::new_spanned(other, by)),
        },
        Some(FnArg::Receiver(Receiver { reference: Some(_), mutability: None, .. })) => Ok(quote!(&**self)),
        Some(other) => Err(syn::Error::new_spanned(other, by)),
        None => Err(syn::Error::new(method.sig.ident.span(), by)),
    }
}

pub(crate) fn asynchronous(method: &ImplItemFn, what: &str) -> syn::Result<()> {
    match method.sig.asyncness {
        Some(_) => Ok(()),
        None => Err(syn::Error::new(method.sig.fn_token.span(), format!("{what} is an `async fn`"))),
    }
}

/// The context, when there is one, and the parameters' type.
fn arguments(method: &ImplItemFn) -> syn::Result<(bool, &Type)> {
    let types: Vec<&Type> = method
        .sig
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(typed) => Some(&*typed.ty),
            FnArg::Receiver(_) => None,
        })
        .collect();
    match types[..] {
        [params] if !matches!(params, Type::Reference(_)) => Ok((false, params)),
        [Type::Reference(_), params] if !matches!(params, Type::Reference(_)) => Ok((true, params)),
        _ => {
            let message =
                "an operation takes `(&self, cx: &CallContext, params: P)`, or leaves the context out";
            Err(syn::Error::new(method.sig.paren_token.span.join(), message))
        }
    }
}

fn check_raw(raw: Option<Span>, ty: &Type, what: &str) -> syn::Result<()> {
    match (raw, types::is_raw(ty)) {
        (Some(_), false) => {
            let message =
                format!("a raw operation's {what} is `Bytes` or `Payload`; leave `raw` away for a message");
            Err(syn::Error::new_spanned(ty, message))
        }
        (None, true) => {
            let message = format!("bytes as {what} are raw: add the word `raw` to `#[operation(…)]`");
            Err(syn::Error::new_spanned(ty, message))
        }
        _ => Ok(()),
    }
}

impl Operation {
    pub(crate) fn new(words: Words, method: &ImplItemFn) -> syn::Result<Self> {
        let Words { name, kind, idempotent, raw, stream, bidi } = words;
        let streaming = stream || bidi;
        asynchronous(method, "an operation")?;
        let this = receiver(method)?;
        let (context, params) = arguments(method)?;
        let outcome = types::outcome(&method.sig)?;
        let params = match (types::requests(params), bidi) {
            (Some(each), true) => each,
            (None, false) => params,
            (None, true) => {
                let message = "a `bidi` operation takes a stream of messages, `Requests<…>`";
                return Err(syn::Error::new_spanned(params, message));
            }
            (Some(_), false) => {
                let message = "a stream of messages needs the word `bidi` in `#[operation(…)]`";
                return Err(syn::Error::new_spanned(params, message));
            }
        };
        check_raw(raw, params, "parameter")?;
        let result = if streaming {
            let (value, written) = types::yielded(outcome)?;
            if let Some(written) = written {
                check_raw(raw, written, "item")?;
            }
            value
        } else {
            if matches!(outcome, Type::ImplTrait(_)) {
                let message = "a stream needs the word `stream` in `#[operation(…)]`";
                return Err(syn::Error::new_spanned(outcome, message));
            }
            check_raw(raw, outcome, "result")?;
            quote!(#outcome)
        };
        let sdk = quote!(::prism_plugin_sdk);
        let cfg: Vec<&Attribute> = method.attrs.iter().filter(|a| a.path().is_ident("cfg")).collect();
        let function = &method.sig.ident;
        let form = if raw.is_some() { "raw" } else { "typed" };
        // At the parameters' type, where the compiler says that it is no message.
        let read = match bidi {
            true => {
                let open = format_ident!("{form}_requests");
                quote_spanned!(params.span()=> #sdk::macros::#open::<#params>(request, rest))
            }
            false => {
                let read = format_ident!("{form}_params");
                quote_spanned!(params.span()=> #sdk::macros::#read::<#params>(request)?)
            }
        };
        let context = context.then(|| quote!(context,));
        let answer = if streaming { format_ident!("{form}_stream") } else { format_ident!("{form}_answer") };
        let answer = quote_spanned!(outcome.span()=> #sdk::macros::#answer);
        let arm = quote! {
            #(#cfg)*
            #name => {
                let params = #read;
                ::core::result::Result::Ok(#answer(Self::#function(#this, #context params).await?))
            }
        };
        let kind = format_ident!("{}", capitalized(&kind.to_string()), span = kind.span());
        let raw = raw.is_some();
        let types = (!raw).then(|| {
            let params = quote_spanned!(params.span()=> #sdk::macros::full_name::<#params>());
            let result = quote_spanned!(outcome.span()=> #sdk::macros::full_name::<#result>());
            quote! { params_type: #params, result_type: #result, }
        });
        let info = quote! {
            #(#cfg)*
            own.push(#sdk::abi::OperationInfo {
                name: #name.into(),
                kind: #sdk::abi::Kind::#kind,
                idempotent: #idempotent,
                server_streaming: #streaming,
                client_streaming: #bidi,
                raw: #raw,
                #types
                ..::core::default::Default::default()
            });
        };
        Ok(Self { name, streaming, info, arm })
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}
