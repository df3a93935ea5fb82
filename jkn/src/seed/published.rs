//! The published figures that the synthetic nation is drawn from, with their sources. What is not published is said
//! to be an assumption.

use vocabulary::Segment;

/// Members of JKN in 2024 (press reports of BPJS-K's figures, 98.45 % of the population).
pub(crate) const MEMBERS: u64 = 278_100_000;

/// Members by segment in September 2022, in thousands (press report quoting BPJS-K).
pub(crate) const SEGMENTS: [(Segment, u64); 6] = [
    (Segment::PbiApbn, 110_000),
    (Segment::PbpuPemda, 37_000),
    (Segment::PpuPn, 19_000),
    (Segment::PpuBu, 42_000),
    (Segment::Pbpu, 30_000),
    (Segment::Bp, 4_200),
];

/// Of a hundred self-employed families so many are in arrears: 15.6 million of some 75 million members that pay for
/// themselves or are paid for by the month, mid-2025 (press report); taken for PBPU alone, which is an assumption.
pub(crate) const SELF_EMPLOYED_IN_ARREARS_PERCENT: u64 = 20;

/// First-level facilities in 2022 by kind and owner (press report quoting BPJS-K); those of the army and the police
/// are primary clinics.
pub(crate) const PUSKESMAS: u64 = 10_273;
/// Primary clinics of civil owners.
pub(crate) const CLINICS: u64 = 6_151;
/// Primary clinics of the armed forces.
pub(crate) const ARMED_FORCES_CLINICS: u64 = 591;
/// Primary clinics of the police.
pub(crate) const POLICE_CLINICS: u64 = 560;
/// Practices of one doctor.
pub(crate) const DOCTORS: u64 = 4_922;
/// Practices of one dentist.
pub(crate) const DENTISTS: u64 = 1_187;
/// Class D pratama hospitals.
pub(crate) const PRATAMA_HOSPITALS: u64 = 43;
/// Hospitals under contract in 2024 (press report).
pub(crate) const HOSPITALS: u64 = 3_162;

/// Classes of hospitals in a hundred: an assumption near the Ministry's lists.
pub(crate) const HOSPITAL_CLASSES: [(&str, u64); 4] = [("A", 2), ("B", 14), ("C", 54), ("D", 30)];

/// Size of families in a hundred: an assumption with the census' mean of 3.9 persons a household, rounded down
/// because grown-up children have families of their own here.
pub(crate) const FAMILY_SIZES: [(usize, u64); 6] = [(1, 12), (2, 18), (3, 24), (4, 26), (5, 14), (6, 6)];

/// A province: Kemendagri code, inhabitants in thousands (census 2020; for the provinces of Papua and Papua Barat
/// founded in 2022 an estimate that adds up to the census), and a point near its middle (degrees).
pub(crate) struct Province(pub(crate) &'static str, pub(crate) u64, pub(crate) f64, pub(crate) f64);

/// All 38.
pub(crate) const PROVINCES: [Province; 38] = [
    Province("11", 5_275, 4.7, 96.7),
    Province("12", 14_799, 2.1, 99.1),
    Province("13", 5_534, -0.9, 100.4),
    Province("14", 6_394, 0.5, 101.5),
    Province("15", 3_548, -1.6, 103.0),
    Province("16", 8_467, -3.2, 104.2),
    Province("17", 2_011, -3.6, 102.3),
    Province("18", 9_008, -4.9, 105.0),
    Province("19", 1_456, -2.7, 106.4),
    Province("21", 2_065, 1.0, 104.3),
    Province("31", 10_562, -6.2, 106.8),
    Province("32", 48_274, -6.9, 107.5),
    Province("33", 36_516, -7.2, 110.0),
    Province("34", 3_669, -7.9, 110.4),
    Province("35", 40_666, -7.6, 112.6),
    Province("36", 11_905, -6.4, 106.1),
    Province("51", 4_317, -8.4, 115.1),
    Province("52", 5_320, -8.6, 117.4),
    Province("53", 5_326, -9.0, 121.5),
    Province("61", 5_414, -0.1, 110.5),
    Province("62", 2_670, -1.7, 113.5),
    Province("63", 4_074, -3.1, 115.4),
    Province("64", 3_766, 0.3, 116.6),
    Province("65", 702, 3.1, 116.4),
    Province("71", 2_622, 1.0, 124.6),
    Province("72", 2_986, -1.0, 121.0),
    Province("73", 9_074, -4.1, 120.0),
    Province("74", 2_625, -4.0, 122.3),
    Province("75", 1_172, 0.6, 122.4),
    Province("76", 1_419, -2.5, 119.3),
    Province("81", 1_849, -3.4, 128.8),
    Province("82", 1_283, 0.9, 127.8),
    Province("91", 1_035, -2.5, 139.5),
    Province("92", 562, -1.8, 133.8),
    Province("93", 513, -7.2, 139.3),
    Province("94", 1_431, -3.6, 136.5),
    Province("95", 1_325, -4.0, 138.9),
    Province("96", 572, -1.0, 131.7),
];

/// Clinics of a hospital by class, each class with those of the class below: an assumption.
pub(crate) const CLINICS_OF: [(&str, &[&str]); 4] = [
    ("D", &["ANA", "BED", "IGD", "INT", "OBG"]),
    ("C", &["HDL", "JAN", "KLT", "MAT", "ORT", "PAR", "SAR", "THT"]),
    ("B", &["BSY", "GIG", "ICU", "IRM", "JIW", "URO"]),
    ("A", &["BDA", "BDP", "BTK", "KDN", "RDN", "RDT"]),
];

/// Given names of women.
pub(crate) const WOMEN: [&str; 24] = [
    "Siti", "Sri", "Dewi", "Nur", "Ratna", "Rina", "Wati", "Ani", "Yuni", "Lestari", "Fitri", "Indah",
    "Putri", "Ayu", "Maria", "Kartini", "Aisyah", "Ningsih", "Endang", "Suryani", "Wulan", "Mega", "Tuti",
    "Ika",
];
/// Given names of men.
pub(crate) const MEN: [&str; 24] = [
    "Budi", "Agus", "Slamet", "Joko", "Ahmad", "Muhammad", "Andi", "Eko", "Dedi", "Hendra", "Rudi",
    "Bambang", "Wahyu", "Yusuf", "Made", "Ketut", "Petrus", "Rizal", "Iwan", "Arif", "Teguh", "Hasan",
    "Dani", "Fajar",
];
/// Second names.
pub(crate) const SECOND_NAMES: [&str; 24] = [
    "Santoso",
    "Wijaya",
    "Saputra",
    "Hidayat",
    "Nugroho",
    "Setiawan",
    "Siregar",
    "Nasution",
    "Harahap",
    "Simanjuntak",
    "Pratama",
    "Kurniawan",
    "Gunawan",
    "Susanto",
    "Lubis",
    "Rahman",
    "Maulana",
    "Halim",
    "Purnomo",
    "Utami",
    "Hakim",
    "Tanjung",
    "Firmansyah",
    "Wibowo",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_province_is_there_once() {
        let known: Vec<_> = vocabulary::provinces().map(|province| province.as_str()).collect();
        assert_eq!(PROVINCES.map(|province| province.0).to_vec(), known);
        let inhabitants: u64 = PROVINCES.iter().map(|province| province.1).sum();
        assert!((269_000..271_500).contains(&inhabitants), "{inhabitants} thousand");
    }

    #[test]
    fn first_level_facilities_add_up_to_the_published_sum() {
        let sum = PUSKESMAS
            + CLINICS
            + ARMED_FORCES_CLINICS
            + POLICE_CLINICS
            + DOCTORS
            + DENTISTS
            + PRATAMA_HOSPITALS;
        assert_eq!(sum, 23_727);
    }
}
