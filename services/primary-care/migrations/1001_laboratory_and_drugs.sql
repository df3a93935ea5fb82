-- What the laboratory found, null is not tested; and the drugs that were handed out, ATC, each with its quantity.
alter table visit
    add column fasting_glucose_mg_dl      integer,
    add column random_glucose_mg_dl       integer,
    add column postprandial_glucose_mg_dl integer,
    add column hba1c_permille             integer,
    add column haemoglobin_decigrams_dl   integer,
    add column drug_atc_codes             text[]    not null default '{}',
    add column drug_quantities            integer[] not null default '{}',
    add check (cardinality(drug_atc_codes) <= 20),
    add check (cardinality(drug_atc_codes) = cardinality(drug_quantities));
