//! Opaque tokens: whoever issued them is asked (RFC 7662), and what it says is remembered for a while.

mod answer;
mod asking;
mod settings;
mod standing;

pub(super) use asking::OAuth2Error;
pub(super) use settings::{Introspection, Settings, check};

use super::{
    Bad, Proof,
    remembered::{Cache, Entry},
};
use crate::{Backing, Credential, Judge, clock::Moment};
use asking::Asking;
use futures_util::{StreamExt as _, stream};
use prism_platform::Platform;
use standing::Standing;
use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::SystemTime,
};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

/// The longest token. Opaque ones are short; those with claims in them have 4 KiB.
const MOST_TOKEN: usize = 8 << 10;

/// Questions about tokens of calls under way at the same time, besides.
const AGAIN: usize = 16;

/// How many times `remember` a call goes on when nobody says whether its token is still good: five minutes by default, so that
/// an outage of the issuer does not end all calls, and a revocation cannot be kept from being heard for longer.
const UNCONFIRMED: u32 = 10;

/// The method, as it is configured. Ends its background task when it is dropped.
pub(super) struct OAuth2 {
    inner: Arc<Inner>,
    asking_again: JoinHandle<()>,
}

struct Inner {
    settings: Settings,
    asking: Asking,
    cache: Cache,
    judge: Judge,
    platform: Platform,
    /// Those that calls were let in by, for as long as those last.
    in_use: Mutex<Vec<InUse>>,
}

type Token = Arc<Zeroizing<Vec<u8>>>;

/// A token, and what it has proven.
struct InUse {
    token: Token,
    credential: Weak<Credential>,
    standing: Arc<Standing>,
}

impl OAuth2 {
    /// Blocks for reading `ca_cert`.
    ///
    /// # Errors
    /// Nobody can be asked that way.
    pub(super) fn open(
        settings: Settings,
        base_dir: &Path,
        platform: &Platform,
        changed: impl Fn() + Send + 'static,
    ) -> Result<Self, OAuth2Error> {
        let asking = Asking::new(&settings.introspection, base_dir, platform)?;
        let inner = Arc::new(Inner {
            cache: Cache::new(settings.cache_size, platform),
            asking,
            judge: Judge::new(),
            platform: platform.clone(),
            in_use: Mutex::default(),
            settings,
        });
        let asking_again = tokio::spawn(ask_again(Arc::downgrade(&inner), changed));
        Ok(Self { inner, asking_again })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(super) fn holds(&self, credential: &Credential) -> bool {
        credential.stands_before(self.inner.judge)
    }

    /// What this token has proven before, if that is still good.
    pub(super) fn remembered(&self, token: &[u8], now: Moment) -> Option<Arc<Credential>> {
        self.inner.cache.get(token, now)
    }

    /// Has a token judged that is not remembered.
    pub(super) fn prove(&self, token: &[u8]) -> Proof {
        if token.len() > MOST_TOKEN {
            return Bad::new("its token is too long").into();
        }
        let (token, inner) = (Zeroizing::new(token.to_vec()), Arc::clone(&self.inner));
        Proof::Ask(Box::pin(async move { inner.judge(token).await }))
    }
}

impl Drop for OAuth2 {
    fn drop(&mut self) {
        self.asking_again.abort();
    }
}

/// Asks again, now and then, for the tokens that calls under way were let in by: a token that was revoked ends them.
async fn ask_again(inner: Weak<Inner>, changed: impl Fn()) {
    loop {
        let Some(remember) = inner.upgrade().map(|inner| inner.settings.remember.get()) else { return };
        // Twice as often as a call that begins would ask: what is revoked is noticed, and its calls are ended, before an answer
        // that was just given would be forgotten.
        tokio::time::sleep(remember / 2).await;
        let Some(inner) = inner.upgrade() else { return };
        // Beside the questions of calls that begin, which strangers can cause as many of as they like.
        let again = inner.tokens_in_use().into_iter().map(|(token, standing)| {
            let inner = &inner;
            async move {
                let answer = inner.asking.ask_now(&token).await;
                match answer.map(|answer| inner.settings.read(&answer, inner.platform.wall_clock())) {
                    Ok(Ok(Ok(_))) => standing.confirm(),
                    Ok(Ok(Err(_))) => standing.end(),
                    // What makes no sense says nothing against a token that was good, for a while.
                    Ok(Err(_)) | Err(_) if standing.is_fresh(remember * UNCONFIRMED) => {}
                    Ok(Err(_)) | Err(_) => standing.end(),
                }
                standing.stands()
            }
        });
        let stood: Vec<bool> = stream::iter(again).buffer_unordered(AGAIN).collect().await;
        if stood.contains(&false) {
            changed();
        }
    }
}

impl Inner {
    async fn judge(&self, token: Zeroizing<Vec<u8>>) -> Proof {
        let answer = match self.asking.ask(&token).await {
            Ok(answer) => answer,
            Err(why) => return Proof::Unknown(why.into()),
        };
        let now = Moment::now(&self.platform);
        let (credential, end) = match self.settings.read(&answer, now.wall) {
            Ok(Ok(good)) => good,
            Ok(Err(bad)) => return bad.into(),
            Err(why) => return Proof::Unknown(why.into()),
        };
        let standing = Arc::new(Standing::new());
        let backing: Arc<dyn Backing> = Arc::<Standing>::clone(&standing);
        let credential = Arc::new(credential.judged(self.judge, Some(backing)));
        self.cache.add(Entry::new(&token, Arc::clone(&credential), SystemTime::UNIX_EPOCH, end), now);
        let in_use = InUse { token: Arc::new(token), credential: Arc::downgrade(&credential), standing };
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner).push(in_use);
        Proof::Good(credential)
    }

    /// The tokens that calls under way were let in by. Those that nobody has any more are forgotten.
    fn tokens_in_use(&self) -> Vec<(Token, Arc<Standing>)> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|one| one.credential.strong_count() > 0);
        let used = in_use.iter().filter(|one| {
            // The memory of good tokens has one: with it alone, nobody is there to be cut off.
            let remembered = self.cache.get(&one.token, Moment::now(&self.platform)).is_some();
            one.credential.strong_count() > usize::from(remembered) && one.standing.stands()
        });
        used.map(|one| (Arc::clone(&one.token), Arc::clone(&one.standing))).collect()
    }
}
