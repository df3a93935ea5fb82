use proptest::prelude::*;

use super::*;

fn grades() -> Grades {
    let text = include_str!("../../../../policy/accreditation/grades.toml");
    let dated = chassis::policy::parse::<Grades>("accreditation/grades.toml", text).unwrap();
    dated.on(jiff::civil::date(2026, 1, 1)).unwrap().rule.clone()
}

fn of_thousand(points: u32) -> Score {
    Score { points, max: 1000 }
}

fn graded(kind: Kind, per_mille: &[u32]) -> Grade {
    let grades = grades();
    let table = grades.of(kind).unwrap();
    let chapters = table.chapter.iter().map(|chapter| chapter.code.clone());
    table.grade(&chapters.zip(per_mille.iter().map(|points| of_thousand(*points))).collect()).unwrap()
}

#[test]
fn each_boundary_of_the_puskesmas_table() {
    let rows: [(Grade, [u32; 5]); 4] = [
        (Grade::Paripurna, [800, 800, 800, 800, 800]),
        (Grade::Utama, [800, 800, 700, 800, 750]),
        (Grade::Madya, [750, 750, 600, 750, 700]),
        (Grade::Dasar, [750, 600, 500, 600, 600]),
    ];
    for (row, (grade, bounds)) in rows.into_iter().enumerate() {
        assert_eq!(graded(Kind::Puskesmas, &bounds), grade);
        for chapter in 0..bounds.len() {
            let mut short = bounds;
            short[chapter] -= 1;
            let below = graded(Kind::Puskesmas, &short);
            assert!(below < grade, "{grade:?} row {row} held with chapter {chapter} a thousandth short");
        }
    }
    assert_eq!(graded(Kind::Puskesmas, &[749, 1000, 1000, 1000, 1000]), Grade::NotAccredited);
}

#[test]
fn each_boundary_of_the_clinic_table() {
    for (grade, bounds) in [
        (Grade::Paripurna, [800, 800, 800]),
        (Grade::Utama, [800, 600, 800]),
        (Grade::Madya, [750, 400, 750]),
    ] {
        for kind in [Kind::Clinic, Kind::MainClinic] {
            assert_eq!(graded(kind, &bounds), grade);
        }
        for chapter in 0..bounds.len() {
            let mut short = bounds;
            short[chapter] -= 1;
            assert!(graded(Kind::Clinic, &short) < grade);
        }
    }
    // A clinic has no dasar: below madya is nothing.
    assert_eq!(graded(Kind::Clinic, &[749, 999, 999]), Grade::NotAccredited);
}

#[test]
fn a_hospital_is_graded_by_how_many_chapters_reach_the_bound() {
    let grades = grades();
    let table = grades.of(Kind::Hospital).unwrap();
    let required: Vec<_> =
        table.chapter.iter().filter(|chapter| !chapter.optional).map(|c| c.code.as_str()).collect();
    assert_eq!(required.len(), 15);
    let with = |reaching: usize, safety: u32| {
        let others = required.iter().filter(|code| **code != "SKP").enumerate();
        let mut scores: BTreeMap<String, Score> = others
            .map(|(i, code)| ((*code).to_owned(), of_thousand(if i < reaching { 800 } else { 799 })))
            .collect();
        scores.insert("SKP".into(), of_thousand(safety));
        table.grade(&scores).unwrap()
    };
    assert_eq!(with(14, 800), Grade::Paripurna);
    assert_eq!(with(13, 800), Grade::Utama);
    assert_eq!(with(11, 800), Grade::Utama);
    assert_eq!(with(10, 800), Grade::Madya);
    assert_eq!(with(7, 800), Grade::Madya);
    assert_eq!(with(6, 800), Grade::NotAccredited);
    assert_eq!(with(14, 799), Grade::NotAccredited);
    assert_eq!(table.grade(&BTreeMap::new()).unwrap_err().len(), 15);
}

#[test]
fn a_practice_has_no_table() {
    assert!(grades().of(Kind::DoctorPractice).is_none());
    assert!(grades().of(Kind::DentistPractice).is_none());
}

#[test]
fn what_does_not_apply_is_left_out_of_the_reckoning() {
    let score =
        Score::of([Fulfilment::Met, Fulfilment::PartlyMet, Fulfilment::NotApplicable, Fulfilment::NotMet]);
    assert_eq!(score, Score { points: 15, max: 30 });
    assert_eq!(score.percent_hundredths(), 5000);
    assert_eq!(Score::of([Fulfilment::NotApplicable]).percent_hundredths(), 0);
}

#[test]
fn a_wrong_table_says_what_is_wrong() {
    let good = grades();
    let mut twice = good.clone();
    twice.table.push(good.table[0].clone());
    assert!(twice.check().unwrap_err().contains("puskesmas has two tables"));
    let mut unknown = good.clone();
    unknown.table[0].row[0].bounds.insert("XYZ".into(), 80);
    assert!(unknown.check().unwrap_err().contains("XYZ"));
    let mut upside_down = good.clone();
    upside_down.table[0].row.reverse();
    assert!(upside_down.check().unwrap_err().contains("highest grade"));
    let mut too_much = good;
    too_much.table[0].row[0].each = Some(101);
    assert!(too_much.check().unwrap_err().contains("100 per cent"));
}

fn fulfilments() -> impl Strategy<Value = Vec<Fulfilment>> {
    proptest::collection::vec(proptest::sample::select(Fulfilment::ALL), 1..80)
}

proptest! {
    #[test]
    fn a_score_never_passes_what_is_possible(elements in fulfilments()) {
        let score = Score::of(elements.iter().copied());
        prop_assert!(score.points <= score.max);
        prop_assert!(score.max <= 10 * u32::try_from(elements.len()).unwrap());
        prop_assert!(score.percent_hundredths() <= 10_000);
    }

    #[test]
    fn a_bound_is_reached_exactly(points in 0u32..10_000, max in 1u32..10_000, bound in 0u32..=100) {
        let points = points.min(max);
        let exact = u128::from(points) * 100 >= u128::from(bound) * u128::from(max);
        prop_assert_eq!(Score { points, max }.reaches(bound), exact);
    }

    #[test]
    fn a_better_chapter_never_makes_a_worse_grade(per_mille in proptest::array::uniform5(0u32..=1000), chapter in 0usize..5, more in 0u32..400) {
        let mut better = per_mille;
        better[chapter] = (better[chapter] + more).min(1000);
        prop_assert!(graded(Kind::Puskesmas, &better) >= graded(Kind::Puskesmas, &per_mille));
    }
}
