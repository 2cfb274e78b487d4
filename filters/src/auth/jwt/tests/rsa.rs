//! RSA keys and signatures that `ring` does not make: it makes no RSA keys, and no PSS but with the right salt. Made once, with
//! another library (pyca/cryptography); the keys are for these tests alone.

/// PKCS #8, base64url: 2048 bits.
pub(crate) const KEY: &str = concat!(
    "MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQDD_HNfd6_cd7Q07lnRtjhPAloULqYl4eonymZHqp5y1rgIHZqE",
    "LUCG9ijNA3ISDjoknycxv_NrzLbF-AQUYft-Jz6ui4NtJxfCHiq99laqbugvU8wzmRH76HdF3ks-",
    "1D_NGPIREImmNDF91nzvwUDfsdcQPVyHqCWuLRknX8JIYbBigQ3vwLiEXsPSrOPr4jn_31J1CL-",
    "RyZtghbzvvsMG5gQtOxTuMTX4JWWVwm5GxTAD2JIzk99eVU5wfqd9aFygd2Odur4bHZ-EMlxpx4k7kMDLe-",
    "MzsZh5VdV6er3dam8lSrHGku6NMdO3tLdyxIYrL6c3RqK6351nzbLbjmnRAgMBAAECggEAOJ5U4k6cYo--YtA86IXA7KpcRZpYa3",
    "dBgy9IrwmObtSzI70Rp3-",
    "_NX4luVx2dtrfVzcXRpsSgqEIaFbHLvBDjGVgCWLKnB0AExdN98UTsncJ4qpNwtZEyMaWtnuKt2Lv75t2SxHBAl_vsE_nlgf5auZ",
    "goBNqCNK91_y1WJekc-",
    "4rcCOjwYNcESxiS0__pZRNbhZGFq9FsczxbihWMjYE0UvrycDMqLZSKkMJRtKzsnU3m09zxZFoMK_USUmlPFY96T2dk0mgIVMz4n",
    "YIlGbHlg1yUJ3JtET2NLvMSvbtr_INwaCNEawFybQWAjIe7YchhIxK3JAXVQzGpH0QL3NrxQKBgQDgJVV3ecLSBH7mBd0jxtrzVD",
    "BqtGw29pXBSe3RpE-DIydTL5bzMlxmGvEfHhEjMSeKNXG940lJR1muHLju76xP-CZN80O_aZlxnQ-",
    "fIhtQ7kizRHXnJj42Mv5GI4dTQyGVgP-FkxH2DyctTH8r4T-",
    "dRLqSmetBvvXMz4ryUaIEewKBgQDf1qL_D2Pe5K8FWqkDLP5B1pcsRAVOOFNhb427lXmDC8WLqabpXqflSZ2j1aAx_JNNjwa356y",
    "UMg1rtspMLh5Yrn0nOz-2wquhvrU6ssHQT7OK7-8rcbPf1pn2hj7ezpa10IEdDeLYejrzyMMBCIUZM-",
    "_1B92Jc5peELMUGAZXIwKBgFp8l-",
    "EwpYaVTAleSqT7zT44OYeKKLmTmGc8iiZ816CQG3sIlj69kPGjZL30LGTxng28f5tx2w8bH8gbTkkfNofeHNCRKUNnxQtJpZnPcg",
    "mc-HpuY86Z8Ll-oon8I9BoJHGvbvgkpDaabW1rGVfEiiLaMRunyYJ0LdSt4GDstaRrAoGASAEpqdbvj5IM4zII0Ga228MGGk0_T6",
    "w61ksmUsOAtTEiOQ04DjZO2ClYNo3P3ISddgOea6ZxE7MOMio45UyoompvBCHBGy-",
    "AOqW4cstyIWqiHP2V-Gm5LTZBjNYef1oBjTcncYs3_99B-44HfNuaxUK53B7Nmxu--qdwk_QuhfUCgYA1kssrPhXTYVTNhNkxJSg",
    "FMAplj7SM0rfZLdAEzXztPhGvVVkQRckIF9kR3bneZYBfWKEvzgXe86wWef_Gs2rsOcnNORgl4w_z-",
    "YlLQ8HkYdKXx9X2PXrSmGcXpCCRWLafUFTz2zIY1ldL-gpIFFM4I9kClKMvZ_5oWJ1K5VAHVw",
);

/// Another one.
pub(crate) const OTHER: &str = concat!(
    "MIIEvwIBADANBgkqhkiG9w0BAQEFAASCBKkwggSlAgEAAoIBAQClsPGIPW2riJTvwOr3SRcfqr6g815cBaCzPd9_ff1ETDROTz0K",
    "PH0bl7fBNCcXJ5TGdIneAU11o2ec8jyjDasM3FvJVk3Crlqnm2kFqPZMlo0GlLe4UEhnhueaK-diMwQEOGAlN_qEbe_sdiR7CANZ",
    "wCiB5XXOCrc0JMBhXxAKXUc00fgy1C0SNB3BiTeDbJNkgCnUGllvICx8WgqF1Aq6KvLM6v0U6G6lNAHnHcGiYRmViOWduXjcqYQY",
    "wc3PUBhqEh1qYxVchsyEmkU2wEXI6qBzfnR820UNXOX8dMGLe6zJYVpUXHKXiyjYUUMSi7M_XOiNhUOfzGOYPEXQHPSpAgMBAAEC",
    "ggEAB-1cyO9jcVsCASyCMV2SWSYCo9Gw-IceZqT1rfRZqyxYLkz1NymotKrAFGLJ4f43TH1j4Ta_vXqZaPVf-",
    "E8dmWpri8jwxHkyBiXV0vr_-",
    "a8URTXVSmCw7h8SspoaImUdcpQ96Vnxxuc5nN8UJLy_6EncxkYzqi1yEXEWsTHqoww6taNLogDSUbfaE3JCSnyx6prcgN-qPEDWK",
    "f9Ym3DoV5Iljpgaw6MV4iVyI7icm0Rc_HdY1oKkLQtgHh77tvdr8HidvxORecK2j0Mr32doP5XlDW4hBJCdZvT8iv1-",
    "S8PeKqP_BTOOsCj3P0ZS0ad8PAoaAlBYiwYVUvfEiR8aFwKBgQDU0IqxppnkdKHqmaR6mpYY8cXYfsQ-",
    "F269RreG2uCv1pNacHZOTCGW2wrD2gUpva7lODi7tS6SzLAB9uqslmdQzo0rQ1gMR99HgQppcyT64gm3fmE6mkW5rwFN7YJLJLqG",
    "3epvu7oOWR1q9mJNgVJ2ZGJAgKmm0Rq0tfiVXYxhJwKBgQDHUGW1ElWbzygorku27eam66nGjq2-",
    "mYjSi4Z14xSvJizVP8jz4KucyCJHd7RtnFxK6aKE9HbrzaIiXLLaCAiBukEfFS2GycUXCgiu2lJzxCBrRzwiHEGIoKnFDAu1XrLy",
    "hezCP0RN0HrvYYozamrD0EwDLHdx6cpFWkarRaX9rwKBgQCOoPHDXIgZb_2wsKZmsUJVl3xku5kkkCnc2w9XZ0xdLO93FpaDpUyB",
    "wW42kuEQ95rG72Y-",
    "j5CWPG7d8jGX1_mIU9aTH0BcgrLnRlnHEK_BIUsn2qCpWQnQB7VVGBBR8ly81PAxUFzDDwDDVjvN_BVbWa3r0w9gyRYf9TGUUa0q",
    "0wKBgQCuwMH8KdAfpVkrme5OvHXQAq4_pleV1t4M5EKHWAuJqeoDK0LQ-",
    "TreYucTTFRJCqAtGn3hHsqp4wj2Idq6qfJzc8-nJhVdqckBc027qTZDxEE8bh--NJIM7fkMCIy3gAlb9Kpqgbgslc9D1XyrqfFkM",
    "FyFJ9aubPJpLkbp4k4whwKBgQCXUTnRJy2i_C6Izov1ZmNiyUwBoy9T2j3eoS_8knxkIJrdVUYxTLjMj22DWpdKRWDXW5sPKJ500",
    "3DPgJ2EAOhoZa9rrK9VlhYPeppqlasQwoGciyej9MNnlITF_5bvDgyguU4DpxCVC702wzqWW34qy9rYrsD7JT9zxsFtX-UBnw",
);

/// The modulus of a key with 1024 bits.
pub(crate) const WEAK_MODULUS: &str = concat!(
    "4ziRIT5zRVMt3kDMI93IHQgHWwPiC8doGxl0jHG_hbI_ShrUnKG1Egh97hdRID7p-",
    "kHGG3bVss6oLiwEGKyXN1B5jb2jwZXH3XcfGmiEJSUbfvVTX9l5CbZ-",
    "LHrH2Uonggknas-C-84bDMMoGmQLANBkn67quHuIO3U9nReql4c",
);

/// `PS256` by [`KEY`] over the claims that the tests use, with a salt of 32 bytes, as RFC 7518 section 3.5 has it.
pub(crate) const RIGHT_SALT: &str = concat!(
    "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJvcmRlcnMiLCJzdWI",
    "iOiJhbGljZSIsImV4cCI6MTgwMDAwMDYwMH0.coJxgAvhQeOcEcsj7qF19XDwO_xNuqfwXui5ec1hX-EYeu23OcNf8LhQGWtjXVK",
    "q7rm_8OZBDMoSsqDb0LcTrxnFpKmYzJ1yl5uvkQudFh0PvsDxvivi3GNuZ0Xpyrap5HSJJpJ59MH8K98SeJjTNja6SQrwFwJsxtR",
    "GcRRt8AQQYlm6_tL0Ssa4f8mbdQQGcQtLb2s-s1q-bg_4Qr6HSctXnpf8NIvTZfX9LIAHf-",
    "SAV9ECH_1phrZWnlP15M9xaZRCE10eferOLYWNXn-AK9X2yGXFVsWT-qXV-GoXuX47dTah3ESakT58sGVtlKHKG1rKGSQPrzoH-",
    "zQ4RGnQNw",
);

/// With a salt of 20 bytes.
pub(crate) const SHORT_SALT: &str = concat!(
    "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJvcmRlcnMiLCJzdWI",
    "iOiJhbGljZSIsImV4cCI6MTgwMDAwMDYwMH0.Lq5mcgXWS_A-",
    "AAF1nYCCcSXpDChtXYgFj4pSnJiWowXXc_cp_CRSqtz8HdfeV8TuhP-wI9sReP9ShMmnENvfseBAs3sdlitNaFqpW2ojB4EQHf6q",
    "gXDHHGJ6LIHbr6Szgat32iTrwVeViTOQ6B4J_ihvLM152SjuF4i5IXCsVfbaHzRuixJCdhfSgjXDMcizHrOZfsB2vwqMO5y7urXO",
    "KrAdu4hSPNE9uMzSwBnFp6_H_aoH_nJ7tgcQe1qFnCbdItJouE09b45Zzm_0q1eqtDxGPSdTSW4aztfkGX9gDKMV5p8ijkxMI61F",
    "A9Md__r1JE3UNDIf8UY3Ru_xJj3DMQ",
);

/// With no salt.
pub(crate) const NO_SALT: &str = concat!(
    "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJvcmRlcnMiLCJzdWI",
    "iOiJhbGljZSIsImV4cCI6MTgwMDAwMDYwMH0.Qh_8gDNF27tmWsPmJW4ZCOAu-AeWU2pqI7jjvtWrermwsUH9yQWJfcs0KboR-tt",
    "wRK0gaCRlZZNr_xnz9IlViTYmzzlo9LUo_MOPZlZczEpYi3Y5sH6Gpz_ZYwL_6k2L8ybiYBygy9JsQgkltat8XoAE16xqIIJFf8r",
    "vk0koP-WkNIOL6mbIHIHTugeYfavRKD5BB_Hu4zUiKYVIvrdwdD57yFzDhYVAUsAaP_FCJaGqkbloSEiR-QtS3FBWu_5jmEgZC-",
    "PznZlpOpwtpQBkWxqgHE6rtQJ1hLUbc6aVPQu2R-yAY4qIpDuaaovlDAuHe64o2ZJEAwK7hem5IFRqXQ",
);

/// With the longest salt that there is room for.
pub(crate) const LONG_SALT: &str = concat!(
    "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJvcmRlcnMiLCJzdWI",
    "iOiJhbGljZSIsImV4cCI6MTgwMDAwMDYwMH0.vh4pc86r9o5E7sahWGkJboGwY-",
    "RmLgGsspEe2Y8fFONsRv2pycSBuAEPBDDEAg5sfShId5Hmj5tnABRUK0NnN-pVX1cfwtnPw630dvpmxgsGtsnMw_0PYjq9K-",
    "cJxkF_PayVUsoqwJfv4xOrpv78i7YmG7b4bK06O2P_cL156-",
    "qt1NH63coCXu7Lo2CVhMu71zAtoN3Tfcqg0VQdeoGOZKluOyYlRrm2zAEhW3zE2Bg0JojUlLynBkiPWzj3BNEPPOaTAVjOuF7uDi",
    "zyjMMiWf95TCb8F3gwMbVs8EzQEfq9GaYVrzaI0-wZ3L-RAKNwnRiD13sOkvxNKNc2OCm-uw",
);

/// With SHA-1 in its mask.
pub(crate) const OTHER_MASK: &str = concat!(
    "eyJhbGciOiJQUzI1NiIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJvcmRlcnMiLCJzdWI",
    "iOiJhbGljZSIsImV4cCI6MTgwMDAwMDYwMH0.MOncLv3IE-M5LcIhbkK7v_-P6RtTrRhS5AMhVxxXi-",
    "963OLvaHJEW5wKla9S1YEeldYLCdaykXUhxwQpj2XbU2AKHl1Vr-535jJXZiRKx4Val_JeH4_kpHWdeSzsJz-",
    "ftARw9JL32Hgyg2t-FOOG2W57T8M5LG6vjFZ9-Urv6c9xCm2dHX5NXqjBVLTnQcp66zb-uZbRcFX2_koNfFfDTdONgIbz8jMGN5U",
    "4Nn1YB6g5tIEL8gD_ZzJocVO_9l2pRVFoM88Yt0K-",
    "hiLocm2KK_3ZgK_N8WSc9pJLj0BSiynGFS19LVU10dNFiYdOQofcSX9fshupzrf9w64UUCEW6g",
);
