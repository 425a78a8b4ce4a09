; CSPAD 2.3M: 32 sensors of 185 x 388 pixels of 109.92 um, two ASICs each, in four quadrants around the beam.
; Source: P. Hart et al., Proc. SPIE 8504 (2012) 85040C.
; Nominal positions, for simulation and as a start: refine with your own data before indexing.
; clen, photon_energy and the gain are examples of how it is used.
photon_energy = 9500.0 eV
clen = 0.1 m
adu_per_eV = 0.00338
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs

rigid_group_p0 = p0a0,p0a1
rigid_group_p1 = p1a0,p1a1
rigid_group_p2 = p2a0,p2a1
rigid_group_p3 = p3a0,p3a1
rigid_group_p4 = p4a0,p4a1
rigid_group_p5 = p5a0,p5a1
rigid_group_p6 = p6a0,p6a1
rigid_group_p7 = p7a0,p7a1
rigid_group_p8 = p8a0,p8a1
rigid_group_p9 = p9a0,p9a1
rigid_group_p10 = p10a0,p10a1
rigid_group_p11 = p11a0,p11a1
rigid_group_p12 = p12a0,p12a1
rigid_group_p13 = p13a0,p13a1
rigid_group_p14 = p14a0,p14a1
rigid_group_p15 = p15a0,p15a1
rigid_group_p16 = p16a0,p16a1
rigid_group_p17 = p17a0,p17a1
rigid_group_p18 = p18a0,p18a1
rigid_group_p19 = p19a0,p19a1
rigid_group_p20 = p20a0,p20a1
rigid_group_p21 = p21a0,p21a1
rigid_group_p22 = p22a0,p22a1
rigid_group_p23 = p23a0,p23a1
rigid_group_p24 = p24a0,p24a1
rigid_group_p25 = p25a0,p25a1
rigid_group_p26 = p26a0,p26a1
rigid_group_p27 = p27a0,p27a1
rigid_group_p28 = p28a0,p28a1
rigid_group_p29 = p29a0,p29a1
rigid_group_p30 = p30a0,p30a1
rigid_group_p31 = p31a0,p31a1
rigid_group_collection_modules = p0,p1,p2,p3,p4,p5,p6,p7,p8,p9,p10,p11,p12,p13,p14,p15,p16,p17,p18,p19,p20,p21,p22,p23,p24,p25,p26,p27,p28,p29,p30,p31

p0a0/min_fs = 0
p0a0/max_fs = 193
p0a0/min_ss = 0
p0a0/max_ss = 184
p0a0/res = 9097.53
p0a0/corner_x = 22.8406227
p0a0/corner_y = -34.275854
p0a0/fs = +1.000000498x
p0a0/ss = +1.000000498y

p0a1/min_fs = 194
p0a1/max_fs = 387
p0a1/min_ss = 0
p0a1/max_ss = 184
p0a1/res = 9097.53
p0a1/corner_x = 219.840721
p0a1/corner_y = -34.275854
p0a1/fs = +1.000000498x
p0a1/ss = +1.000000498y

p1a0/min_fs = 0
p1a0/max_fs = 193
p1a0/min_ss = 185
p1a0/max_ss = 369
p1a0/res = 9097.53
p1a0/corner_x = 22.8406227
p1a0/corner_y = 176.786842
p1a0/fs = +1.000000498x
p1a0/ss = +1.000000498y

p1a1/min_fs = 194
p1a1/max_fs = 387
p1a1/min_ss = 185
p1a1/max_ss = 369
p1a1/res = 9097.53
p1a1/corner_x = 219.840721
p1a1/corner_y = 176.786842
p1a1/fs = +1.000000498x
p1a1/ss = +1.000000498y

p2a0/min_fs = 0
p2a0/max_fs = 193
p2a0/min_ss = 370
p2a0/max_ss = 554
p2a0/res = 9097.53
p2a0/corner_x = 632.893328
p2a0/corner_y = -31.7445573
p2a0/fs = +1.000000498y
p2a0/ss = -1.000000498x

p2a1/min_fs = 194
p2a1/max_fs = 387
p2a1/min_ss = 370
p2a1/max_ss = 554
p2a1/res = 9097.53
p2a1/corner_x = 632.893328
p2a1/corner_y = 165.255541
p2a1/fs = +1.000000498y
p2a1/ss = -1.000000498x

p3a0/min_fs = 0
p3a0/max_fs = 193
p3a0/min_ss = 555
p3a0/max_ss = 739
p3a0/res = 9097.53
p3a0/corner_x = 843.956024
p3a0/corner_y = -31.7445573
p3a0/fs = +1.000000498y
p3a0/ss = -1.000000498x

p3a1/min_fs = 194
p3a1/max_fs = 387
p3a1/min_ss = 555
p3a1/max_ss = 739
p3a1/res = 9097.53
p3a1/corner_x = 843.956024
p3a1/corner_y = 165.255541
p3a1/fs = +1.000000498y
p3a1/ss = -1.000000498x

p4a0/min_fs = 0
p4a0/max_fs = 193
p4a0/min_ss = 740
p4a0/max_ss = 924
p4a0/res = 9097.53
p4a0/corner_x = 205.309418
p4a0/corner_y = 395.839353
p4a0/fs = +1.000000498y
p4a0/ss = -1.000000498x

p4a1/min_fs = 194
p4a1/max_fs = 387
p4a1/min_ss = 740
p4a1/max_ss = 924
p4a1/res = 9097.53
p4a1/corner_x = 205.309418
p4a1/corner_y = 592.839451
p4a1/fs = +1.000000498y
p4a1/ss = -1.000000498x

p5a0/min_fs = 0
p5a0/max_fs = 193
p5a0/min_ss = 925
p5a0/max_ss = 1109
p5a0/res = 9097.53
p5a0/corner_x = 416.372114
p5a0/corner_y = 395.839353
p5a0/fs = +1.000000498y
p5a0/ss = -1.000000498x

p5a1/min_fs = 194
p5a1/max_fs = 387
p5a1/min_ss = 925
p5a1/max_ss = 1109
p5a1/res = 9097.53
p5a1/corner_x = 416.372114
p5a1/corner_y = 592.839451
p5a1/fs = +1.000000498y
p5a1/ss = -1.000000498x

p6a0/min_fs = 0
p6a0/max_fs = 193
p6a0/min_ss = 1110
p6a0/max_ss = 1294
p6a0/res = 9097.53
p6a0/corner_x = 450.424533
p6a0/corner_y = 393.308056
p6a0/fs = +1.000000498x
p6a0/ss = +1.000000498y

p6a1/min_fs = 194
p6a1/max_fs = 387
p6a1/min_ss = 1110
p6a1/max_ss = 1294
p6a1/res = 9097.53
p6a1/corner_x = 647.424631
p6a1/corner_y = 393.308056
p6a1/fs = +1.000000498x
p6a1/ss = +1.000000498y

p7a0/min_fs = 0
p7a0/max_fs = 193
p7a0/min_ss = 1295
p7a0/max_ss = 1479
p7a0/res = 9097.53
p7a0/corner_x = 450.424533
p7a0/corner_y = 604.370752
p7a0/fs = +1.000000498x
p7a0/ss = +1.000000498y

p7a1/min_fs = 194
p7a1/max_fs = 387
p7a1/min_ss = 1295
p7a1/max_ss = 1479
p7a1/res = 9097.53
p7a1/corner_x = 647.424631
p7a1/corner_y = 604.370752
p7a1/fs = +1.000000498x
p7a1/ss = +1.000000498y

p8a0/min_fs = 0
p8a0/max_fs = 193
p8a0/min_ss = 1480
p8a0/max_ss = 1664
p8a0/res = 9097.53
p8a0/corner_x = -34.275854
p8a0/corner_y = -22.8406227
p8a0/fs = -1.000000498y
p8a0/ss = +1.000000498x

p8a1/min_fs = 194
p8a1/max_fs = 387
p8a1/min_ss = 1480
p8a1/max_ss = 1664
p8a1/res = 9097.53
p8a1/corner_x = -34.275854
p8a1/corner_y = -219.840721
p8a1/fs = -1.000000498y
p8a1/ss = +1.000000498x

p9a0/min_fs = 0
p9a0/max_fs = 193
p9a0/min_ss = 1665
p9a0/max_ss = 1849
p9a0/res = 9097.53
p9a0/corner_x = 176.786842
p9a0/corner_y = -22.8406227
p9a0/fs = -1.000000498y
p9a0/ss = +1.000000498x

p9a1/min_fs = 194
p9a1/max_fs = 387
p9a1/min_ss = 1665
p9a1/max_ss = 1849
p9a1/res = 9097.53
p9a1/corner_x = 176.786842
p9a1/corner_y = -219.840721
p9a1/fs = -1.000000498y
p9a1/ss = +1.000000498x

p10a0/min_fs = 0
p10a0/max_fs = 193
p10a0/min_ss = 1850
p10a0/max_ss = 2034
p10a0/res = 9097.53
p10a0/corner_x = -31.7445573
p10a0/corner_y = -632.893328
p10a0/fs = +1.000000498x
p10a0/ss = +1.000000498y

p10a1/min_fs = 194
p10a1/max_fs = 387
p10a1/min_ss = 1850
p10a1/max_ss = 2034
p10a1/res = 9097.53
p10a1/corner_x = 165.255541
p10a1/corner_y = -632.893328
p10a1/fs = +1.000000498x
p10a1/ss = +1.000000498y

p11a0/min_fs = 0
p11a0/max_fs = 193
p11a0/min_ss = 2035
p11a0/max_ss = 2219
p11a0/res = 9097.53
p11a0/corner_x = -31.7445573
p11a0/corner_y = -843.956024
p11a0/fs = +1.000000498x
p11a0/ss = +1.000000498y

p11a1/min_fs = 194
p11a1/max_fs = 387
p11a1/min_ss = 2035
p11a1/max_ss = 2219
p11a1/res = 9097.53
p11a1/corner_x = 165.255541
p11a1/corner_y = -843.956024
p11a1/fs = +1.000000498x
p11a1/ss = +1.000000498y

p12a0/min_fs = 0
p12a0/max_fs = 193
p12a0/min_ss = 2220
p12a0/max_ss = 2404
p12a0/res = 9097.53
p12a0/corner_x = 395.839353
p12a0/corner_y = -205.309418
p12a0/fs = +1.000000498x
p12a0/ss = +1.000000498y

p12a1/min_fs = 194
p12a1/max_fs = 387
p12a1/min_ss = 2220
p12a1/max_ss = 2404
p12a1/res = 9097.53
p12a1/corner_x = 592.839451
p12a1/corner_y = -205.309418
p12a1/fs = +1.000000498x
p12a1/ss = +1.000000498y

p13a0/min_fs = 0
p13a0/max_fs = 193
p13a0/min_ss = 2405
p13a0/max_ss = 2589
p13a0/res = 9097.53
p13a0/corner_x = 395.839353
p13a0/corner_y = -416.372114
p13a0/fs = +1.000000498x
p13a0/ss = +1.000000498y

p13a1/min_fs = 194
p13a1/max_fs = 387
p13a1/min_ss = 2405
p13a1/max_ss = 2589
p13a1/res = 9097.53
p13a1/corner_x = 592.839451
p13a1/corner_y = -416.372114
p13a1/fs = +1.000000498x
p13a1/ss = +1.000000498y

p14a0/min_fs = 0
p14a0/max_fs = 193
p14a0/min_ss = 2590
p14a0/max_ss = 2774
p14a0/res = 9097.53
p14a0/corner_x = 393.308056
p14a0/corner_y = -450.424533
p14a0/fs = -1.000000498y
p14a0/ss = +1.000000498x

p14a1/min_fs = 194
p14a1/max_fs = 387
p14a1/min_ss = 2590
p14a1/max_ss = 2774
p14a1/res = 9097.53
p14a1/corner_x = 393.308056
p14a1/corner_y = -647.424631
p14a1/fs = -1.000000498y
p14a1/ss = +1.000000498x

p15a0/min_fs = 0
p15a0/max_fs = 193
p15a0/min_ss = 2775
p15a0/max_ss = 2959
p15a0/res = 9097.53
p15a0/corner_x = 604.370752
p15a0/corner_y = -450.424533
p15a0/fs = -1.000000498y
p15a0/ss = +1.000000498x

p15a1/min_fs = 194
p15a1/max_fs = 387
p15a1/min_ss = 2775
p15a1/max_ss = 2959
p15a1/res = 9097.53
p15a1/corner_x = 604.370752
p15a1/corner_y = -647.424631
p15a1/fs = -1.000000498y
p15a1/ss = +1.000000498x

p16a0/min_fs = 0
p16a0/max_fs = 193
p16a0/min_ss = 2960
p16a0/max_ss = 3144
p16a0/res = 9097.53
p16a0/corner_x = -22.8406227
p16a0/corner_y = 34.275854
p16a0/fs = -1.000000498x
p16a0/ss = -1.000000498y

p16a1/min_fs = 194
p16a1/max_fs = 387
p16a1/min_ss = 2960
p16a1/max_ss = 3144
p16a1/res = 9097.53
p16a1/corner_x = -219.840721
p16a1/corner_y = 34.275854
p16a1/fs = -1.000000498x
p16a1/ss = -1.000000498y

p17a0/min_fs = 0
p17a0/max_fs = 193
p17a0/min_ss = 3145
p17a0/max_ss = 3329
p17a0/res = 9097.53
p17a0/corner_x = -22.8406227
p17a0/corner_y = -176.786842
p17a0/fs = -1.000000498x
p17a0/ss = -1.000000498y

p17a1/min_fs = 194
p17a1/max_fs = 387
p17a1/min_ss = 3145
p17a1/max_ss = 3329
p17a1/res = 9097.53
p17a1/corner_x = -219.840721
p17a1/corner_y = -176.786842
p17a1/fs = -1.000000498x
p17a1/ss = -1.000000498y

p18a0/min_fs = 0
p18a0/max_fs = 193
p18a0/min_ss = 3330
p18a0/max_ss = 3514
p18a0/res = 9097.53
p18a0/corner_x = -632.893328
p18a0/corner_y = 31.7445573
p18a0/fs = -1.000000498y
p18a0/ss = +1.000000498x

p18a1/min_fs = 194
p18a1/max_fs = 387
p18a1/min_ss = 3330
p18a1/max_ss = 3514
p18a1/res = 9097.53
p18a1/corner_x = -632.893328
p18a1/corner_y = -165.255541
p18a1/fs = -1.000000498y
p18a1/ss = +1.000000498x

p19a0/min_fs = 0
p19a0/max_fs = 193
p19a0/min_ss = 3515
p19a0/max_ss = 3699
p19a0/res = 9097.53
p19a0/corner_x = -843.956024
p19a0/corner_y = 31.7445573
p19a0/fs = -1.000000498y
p19a0/ss = +1.000000498x

p19a1/min_fs = 194
p19a1/max_fs = 387
p19a1/min_ss = 3515
p19a1/max_ss = 3699
p19a1/res = 9097.53
p19a1/corner_x = -843.956024
p19a1/corner_y = -165.255541
p19a1/fs = -1.000000498y
p19a1/ss = +1.000000498x

p20a0/min_fs = 0
p20a0/max_fs = 193
p20a0/min_ss = 3700
p20a0/max_ss = 3884
p20a0/res = 9097.53
p20a0/corner_x = -205.309418
p20a0/corner_y = -395.839353
p20a0/fs = -1.000000498y
p20a0/ss = +1.000000498x

p20a1/min_fs = 194
p20a1/max_fs = 387
p20a1/min_ss = 3700
p20a1/max_ss = 3884
p20a1/res = 9097.53
p20a1/corner_x = -205.309418
p20a1/corner_y = -592.839451
p20a1/fs = -1.000000498y
p20a1/ss = +1.000000498x

p21a0/min_fs = 0
p21a0/max_fs = 193
p21a0/min_ss = 3885
p21a0/max_ss = 4069
p21a0/res = 9097.53
p21a0/corner_x = -416.372114
p21a0/corner_y = -395.839353
p21a0/fs = -1.000000498y
p21a0/ss = +1.000000498x

p21a1/min_fs = 194
p21a1/max_fs = 387
p21a1/min_ss = 3885
p21a1/max_ss = 4069
p21a1/res = 9097.53
p21a1/corner_x = -416.372114
p21a1/corner_y = -592.839451
p21a1/fs = -1.000000498y
p21a1/ss = +1.000000498x

p22a0/min_fs = 0
p22a0/max_fs = 193
p22a0/min_ss = 4070
p22a0/max_ss = 4254
p22a0/res = 9097.53
p22a0/corner_x = -450.424533
p22a0/corner_y = -393.308056
p22a0/fs = -1.000000498x
p22a0/ss = -1.000000498y

p22a1/min_fs = 194
p22a1/max_fs = 387
p22a1/min_ss = 4070
p22a1/max_ss = 4254
p22a1/res = 9097.53
p22a1/corner_x = -647.424631
p22a1/corner_y = -393.308056
p22a1/fs = -1.000000498x
p22a1/ss = -1.000000498y

p23a0/min_fs = 0
p23a0/max_fs = 193
p23a0/min_ss = 4255
p23a0/max_ss = 4439
p23a0/res = 9097.53
p23a0/corner_x = -450.424533
p23a0/corner_y = -604.370752
p23a0/fs = -1.000000498x
p23a0/ss = -1.000000498y

p23a1/min_fs = 194
p23a1/max_fs = 387
p23a1/min_ss = 4255
p23a1/max_ss = 4439
p23a1/res = 9097.53
p23a1/corner_x = -647.424631
p23a1/corner_y = -604.370752
p23a1/fs = -1.000000498x
p23a1/ss = -1.000000498y

p24a0/min_fs = 0
p24a0/max_fs = 193
p24a0/min_ss = 4440
p24a0/max_ss = 4624
p24a0/res = 9097.53
p24a0/corner_x = 34.275854
p24a0/corner_y = 22.8406227
p24a0/fs = +1.000000498y
p24a0/ss = -1.000000498x

p24a1/min_fs = 194
p24a1/max_fs = 387
p24a1/min_ss = 4440
p24a1/max_ss = 4624
p24a1/res = 9097.53
p24a1/corner_x = 34.275854
p24a1/corner_y = 219.840721
p24a1/fs = +1.000000498y
p24a1/ss = -1.000000498x

p25a0/min_fs = 0
p25a0/max_fs = 193
p25a0/min_ss = 4625
p25a0/max_ss = 4809
p25a0/res = 9097.53
p25a0/corner_x = -176.786842
p25a0/corner_y = 22.8406227
p25a0/fs = +1.000000498y
p25a0/ss = -1.000000498x

p25a1/min_fs = 194
p25a1/max_fs = 387
p25a1/min_ss = 4625
p25a1/max_ss = 4809
p25a1/res = 9097.53
p25a1/corner_x = -176.786842
p25a1/corner_y = 219.840721
p25a1/fs = +1.000000498y
p25a1/ss = -1.000000498x

p26a0/min_fs = 0
p26a0/max_fs = 193
p26a0/min_ss = 4810
p26a0/max_ss = 4994
p26a0/res = 9097.53
p26a0/corner_x = 31.7445573
p26a0/corner_y = 632.893328
p26a0/fs = -1.000000498x
p26a0/ss = -1.000000498y

p26a1/min_fs = 194
p26a1/max_fs = 387
p26a1/min_ss = 4810
p26a1/max_ss = 4994
p26a1/res = 9097.53
p26a1/corner_x = -165.255541
p26a1/corner_y = 632.893328
p26a1/fs = -1.000000498x
p26a1/ss = -1.000000498y

p27a0/min_fs = 0
p27a0/max_fs = 193
p27a0/min_ss = 4995
p27a0/max_ss = 5179
p27a0/res = 9097.53
p27a0/corner_x = 31.7445573
p27a0/corner_y = 843.956024
p27a0/fs = -1.000000498x
p27a0/ss = -1.000000498y

p27a1/min_fs = 194
p27a1/max_fs = 387
p27a1/min_ss = 4995
p27a1/max_ss = 5179
p27a1/res = 9097.53
p27a1/corner_x = -165.255541
p27a1/corner_y = 843.956024
p27a1/fs = -1.000000498x
p27a1/ss = -1.000000498y

p28a0/min_fs = 0
p28a0/max_fs = 193
p28a0/min_ss = 5180
p28a0/max_ss = 5364
p28a0/res = 9097.53
p28a0/corner_x = -395.839353
p28a0/corner_y = 205.309418
p28a0/fs = -1.000000498x
p28a0/ss = -1.000000498y

p28a1/min_fs = 194
p28a1/max_fs = 387
p28a1/min_ss = 5180
p28a1/max_ss = 5364
p28a1/res = 9097.53
p28a1/corner_x = -592.839451
p28a1/corner_y = 205.309418
p28a1/fs = -1.000000498x
p28a1/ss = -1.000000498y

p29a0/min_fs = 0
p29a0/max_fs = 193
p29a0/min_ss = 5365
p29a0/max_ss = 5549
p29a0/res = 9097.53
p29a0/corner_x = -395.839353
p29a0/corner_y = 416.372114
p29a0/fs = -1.000000498x
p29a0/ss = -1.000000498y

p29a1/min_fs = 194
p29a1/max_fs = 387
p29a1/min_ss = 5365
p29a1/max_ss = 5549
p29a1/res = 9097.53
p29a1/corner_x = -592.839451
p29a1/corner_y = 416.372114
p29a1/fs = -1.000000498x
p29a1/ss = -1.000000498y

p30a0/min_fs = 0
p30a0/max_fs = 193
p30a0/min_ss = 5550
p30a0/max_ss = 5734
p30a0/res = 9097.53
p30a0/corner_x = -393.308056
p30a0/corner_y = 450.424533
p30a0/fs = +1.000000498y
p30a0/ss = -1.000000498x

p30a1/min_fs = 194
p30a1/max_fs = 387
p30a1/min_ss = 5550
p30a1/max_ss = 5734
p30a1/res = 9097.53
p30a1/corner_x = -393.308056
p30a1/corner_y = 647.424631
p30a1/fs = +1.000000498y
p30a1/ss = -1.000000498x

p31a0/min_fs = 0
p31a0/max_fs = 193
p31a0/min_ss = 5735
p31a0/max_ss = 5919
p31a0/res = 9097.53
p31a0/corner_x = -604.370752
p31a0/corner_y = 450.424533
p31a0/fs = +1.000000498y
p31a0/ss = -1.000000498x

p31a1/min_fs = 194
p31a1/max_fs = 387
p31a1/min_ss = 5735
p31a1/max_ss = 5919
p31a1/res = 9097.53
p31a1/corner_x = -604.370752
p31a1/corner_y = 647.424631
p31a1/fs = +1.000000498y
p31a1/ss = -1.000000498x
