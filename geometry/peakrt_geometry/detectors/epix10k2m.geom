; ePix10k2M: 16 modules of 352 x 384 pixels of 100 um, 2 x 2 ASICs each, in four quadrants around the beam.
; Source: G. Blaj et al., AIP Conf. Proc. 2054 (2019) 060062; module pitch as in LCLS's optical metrology.
; Nominal positions, for simulation and as a start: refine with your own data before indexing.
; clen, photon_energy and the gain are examples of how it is used.
photon_energy = 9500.0 eV
clen = 0.1 m
adu_per_eV = 0.001
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs

rigid_group_p0 = p0a0,p0a1,p0a2,p0a3
rigid_group_p1 = p1a0,p1a1,p1a2,p1a3
rigid_group_p2 = p2a0,p2a1,p2a2,p2a3
rigid_group_p3 = p3a0,p3a1,p3a2,p3a3
rigid_group_p4 = p4a0,p4a1,p4a2,p4a3
rigid_group_p5 = p5a0,p5a1,p5a2,p5a3
rigid_group_p6 = p6a0,p6a1,p6a2,p6a3
rigid_group_p7 = p7a0,p7a1,p7a2,p7a3
rigid_group_p8 = p8a0,p8a1,p8a2,p8a3
rigid_group_p9 = p9a0,p9a1,p9a2,p9a3
rigid_group_p10 = p10a0,p10a1,p10a2,p10a3
rigid_group_p11 = p11a0,p11a1,p11a2,p11a3
rigid_group_p12 = p12a0,p12a1,p12a2,p12a3
rigid_group_p13 = p13a0,p13a1,p13a2,p13a3
rigid_group_p14 = p14a0,p14a1,p14a2,p14a3
rigid_group_p15 = p15a0,p15a1,p15a2,p15a3
rigid_group_collection_modules = p0,p1,p2,p3,p4,p5,p6,p7,p8,p9,p10,p11,p12,p13,p14,p15

p0a0/min_fs = 0
p0a0/max_fs = 191
p0a0/min_ss = 0
p0a0/max_ss = 175
p0a0/res = 10000
p0a0/corner_x = 54.75
p0a0/corner_y = -13.95
p0a0/fs = +1.000000000x
p0a0/ss = +1.000000000y

p0a1/min_fs = 192
p0a1/max_fs = 383
p0a1/min_ss = 0
p0a1/max_ss = 175
p0a1/res = 10000
p0a1/corner_x = 249.25
p0a1/corner_y = -13.95
p0a1/fs = +1.000000000x
p0a1/ss = +1.000000000y

p0a2/min_fs = 0
p0a2/max_fs = 191
p0a2/min_ss = 176
p0a2/max_ss = 351
p0a2/res = 10000
p0a2/corner_x = 54.75
p0a2/corner_y = 164.55
p0a2/fs = +1.000000000x
p0a2/ss = +1.000000000y

p0a3/min_fs = 192
p0a3/max_fs = 383
p0a3/min_ss = 176
p0a3/max_ss = 351
p0a3/res = 10000
p0a3/corner_x = 249.25
p0a3/corner_y = 164.55
p0a3/fs = +1.000000000x
p0a3/ss = +1.000000000y

p1a0/min_fs = 0
p1a0/max_fs = 191
p1a0/min_ss = 352
p1a0/max_ss = 527
p1a0/res = 10000
p1a0/corner_x = 458.75
p1a0/corner_y = -13.95
p1a0/fs = +1.000000000x
p1a0/ss = +1.000000000y

p1a1/min_fs = 192
p1a1/max_fs = 383
p1a1/min_ss = 352
p1a1/max_ss = 527
p1a1/res = 10000
p1a1/corner_x = 653.25
p1a1/corner_y = -13.95
p1a1/fs = +1.000000000x
p1a1/ss = +1.000000000y

p1a2/min_fs = 0
p1a2/max_fs = 191
p1a2/min_ss = 528
p1a2/max_ss = 703
p1a2/res = 10000
p1a2/corner_x = 458.75
p1a2/corner_y = 164.55
p1a2/fs = +1.000000000x
p1a2/ss = +1.000000000y

p1a3/min_fs = 192
p1a3/max_fs = 383
p1a3/min_ss = 528
p1a3/max_ss = 703
p1a3/res = 10000
p1a3/corner_x = 653.25
p1a3/corner_y = 164.55
p1a3/fs = +1.000000000x
p1a3/ss = +1.000000000y

p2a0/min_fs = 0
p2a0/max_fs = 191
p2a0/min_ss = 704
p2a0/max_ss = 879
p2a0/res = 10000
p2a0/corner_x = 54.75
p2a0/corner_y = 403.45
p2a0/fs = +1.000000000x
p2a0/ss = +1.000000000y

p2a1/min_fs = 192
p2a1/max_fs = 383
p2a1/min_ss = 704
p2a1/max_ss = 879
p2a1/res = 10000
p2a1/corner_x = 249.25
p2a1/corner_y = 403.45
p2a1/fs = +1.000000000x
p2a1/ss = +1.000000000y

p2a2/min_fs = 0
p2a2/max_fs = 191
p2a2/min_ss = 880
p2a2/max_ss = 1055
p2a2/res = 10000
p2a2/corner_x = 54.75
p2a2/corner_y = 581.95
p2a2/fs = +1.000000000x
p2a2/ss = +1.000000000y

p2a3/min_fs = 192
p2a3/max_fs = 383
p2a3/min_ss = 880
p2a3/max_ss = 1055
p2a3/res = 10000
p2a3/corner_x = 249.25
p2a3/corner_y = 581.95
p2a3/fs = +1.000000000x
p2a3/ss = +1.000000000y

p3a0/min_fs = 0
p3a0/max_fs = 191
p3a0/min_ss = 1056
p3a0/max_ss = 1231
p3a0/res = 10000
p3a0/corner_x = 458.75
p3a0/corner_y = 403.45
p3a0/fs = +1.000000000x
p3a0/ss = +1.000000000y

p3a1/min_fs = 192
p3a1/max_fs = 383
p3a1/min_ss = 1056
p3a1/max_ss = 1231
p3a1/res = 10000
p3a1/corner_x = 653.25
p3a1/corner_y = 403.45
p3a1/fs = +1.000000000x
p3a1/ss = +1.000000000y

p3a2/min_fs = 0
p3a2/max_fs = 191
p3a2/min_ss = 1232
p3a2/max_ss = 1407
p3a2/res = 10000
p3a2/corner_x = 458.75
p3a2/corner_y = 581.95
p3a2/fs = +1.000000000x
p3a2/ss = +1.000000000y

p3a3/min_fs = 192
p3a3/max_fs = 383
p3a3/min_ss = 1232
p3a3/max_ss = 1407
p3a3/res = 10000
p3a3/corner_x = 653.25
p3a3/corner_y = 581.95
p3a3/fs = +1.000000000x
p3a3/ss = +1.000000000y

p4a0/min_fs = 0
p4a0/max_fs = 191
p4a0/min_ss = 1408
p4a0/max_ss = 1583
p4a0/res = 10000
p4a0/corner_x = -13.95
p4a0/corner_y = -54.75
p4a0/fs = -1.000000000y
p4a0/ss = +1.000000000x

p4a1/min_fs = 192
p4a1/max_fs = 383
p4a1/min_ss = 1408
p4a1/max_ss = 1583
p4a1/res = 10000
p4a1/corner_x = -13.95
p4a1/corner_y = -249.25
p4a1/fs = -1.000000000y
p4a1/ss = +1.000000000x

p4a2/min_fs = 0
p4a2/max_fs = 191
p4a2/min_ss = 1584
p4a2/max_ss = 1759
p4a2/res = 10000
p4a2/corner_x = 164.55
p4a2/corner_y = -54.75
p4a2/fs = -1.000000000y
p4a2/ss = +1.000000000x

p4a3/min_fs = 192
p4a3/max_fs = 383
p4a3/min_ss = 1584
p4a3/max_ss = 1759
p4a3/res = 10000
p4a3/corner_x = 164.55
p4a3/corner_y = -249.25
p4a3/fs = -1.000000000y
p4a3/ss = +1.000000000x

p5a0/min_fs = 0
p5a0/max_fs = 191
p5a0/min_ss = 1760
p5a0/max_ss = 1935
p5a0/res = 10000
p5a0/corner_x = -13.95
p5a0/corner_y = -458.75
p5a0/fs = -1.000000000y
p5a0/ss = +1.000000000x

p5a1/min_fs = 192
p5a1/max_fs = 383
p5a1/min_ss = 1760
p5a1/max_ss = 1935
p5a1/res = 10000
p5a1/corner_x = -13.95
p5a1/corner_y = -653.25
p5a1/fs = -1.000000000y
p5a1/ss = +1.000000000x

p5a2/min_fs = 0
p5a2/max_fs = 191
p5a2/min_ss = 1936
p5a2/max_ss = 2111
p5a2/res = 10000
p5a2/corner_x = 164.55
p5a2/corner_y = -458.75
p5a2/fs = -1.000000000y
p5a2/ss = +1.000000000x

p5a3/min_fs = 192
p5a3/max_fs = 383
p5a3/min_ss = 1936
p5a3/max_ss = 2111
p5a3/res = 10000
p5a3/corner_x = 164.55
p5a3/corner_y = -653.25
p5a3/fs = -1.000000000y
p5a3/ss = +1.000000000x

p6a0/min_fs = 0
p6a0/max_fs = 191
p6a0/min_ss = 2112
p6a0/max_ss = 2287
p6a0/res = 10000
p6a0/corner_x = 403.45
p6a0/corner_y = -54.75
p6a0/fs = -1.000000000y
p6a0/ss = +1.000000000x

p6a1/min_fs = 192
p6a1/max_fs = 383
p6a1/min_ss = 2112
p6a1/max_ss = 2287
p6a1/res = 10000
p6a1/corner_x = 403.45
p6a1/corner_y = -249.25
p6a1/fs = -1.000000000y
p6a1/ss = +1.000000000x

p6a2/min_fs = 0
p6a2/max_fs = 191
p6a2/min_ss = 2288
p6a2/max_ss = 2463
p6a2/res = 10000
p6a2/corner_x = 581.95
p6a2/corner_y = -54.75
p6a2/fs = -1.000000000y
p6a2/ss = +1.000000000x

p6a3/min_fs = 192
p6a3/max_fs = 383
p6a3/min_ss = 2288
p6a3/max_ss = 2463
p6a3/res = 10000
p6a3/corner_x = 581.95
p6a3/corner_y = -249.25
p6a3/fs = -1.000000000y
p6a3/ss = +1.000000000x

p7a0/min_fs = 0
p7a0/max_fs = 191
p7a0/min_ss = 2464
p7a0/max_ss = 2639
p7a0/res = 10000
p7a0/corner_x = 403.45
p7a0/corner_y = -458.75
p7a0/fs = -1.000000000y
p7a0/ss = +1.000000000x

p7a1/min_fs = 192
p7a1/max_fs = 383
p7a1/min_ss = 2464
p7a1/max_ss = 2639
p7a1/res = 10000
p7a1/corner_x = 403.45
p7a1/corner_y = -653.25
p7a1/fs = -1.000000000y
p7a1/ss = +1.000000000x

p7a2/min_fs = 0
p7a2/max_fs = 191
p7a2/min_ss = 2640
p7a2/max_ss = 2815
p7a2/res = 10000
p7a2/corner_x = 581.95
p7a2/corner_y = -458.75
p7a2/fs = -1.000000000y
p7a2/ss = +1.000000000x

p7a3/min_fs = 192
p7a3/max_fs = 383
p7a3/min_ss = 2640
p7a3/max_ss = 2815
p7a3/res = 10000
p7a3/corner_x = 581.95
p7a3/corner_y = -653.25
p7a3/fs = -1.000000000y
p7a3/ss = +1.000000000x

p8a0/min_fs = 0
p8a0/max_fs = 191
p8a0/min_ss = 2816
p8a0/max_ss = 2991
p8a0/res = 10000
p8a0/corner_x = -54.75
p8a0/corner_y = 13.95
p8a0/fs = -1.000000000x
p8a0/ss = -1.000000000y

p8a1/min_fs = 192
p8a1/max_fs = 383
p8a1/min_ss = 2816
p8a1/max_ss = 2991
p8a1/res = 10000
p8a1/corner_x = -249.25
p8a1/corner_y = 13.95
p8a1/fs = -1.000000000x
p8a1/ss = -1.000000000y

p8a2/min_fs = 0
p8a2/max_fs = 191
p8a2/min_ss = 2992
p8a2/max_ss = 3167
p8a2/res = 10000
p8a2/corner_x = -54.75
p8a2/corner_y = -164.55
p8a2/fs = -1.000000000x
p8a2/ss = -1.000000000y

p8a3/min_fs = 192
p8a3/max_fs = 383
p8a3/min_ss = 2992
p8a3/max_ss = 3167
p8a3/res = 10000
p8a3/corner_x = -249.25
p8a3/corner_y = -164.55
p8a3/fs = -1.000000000x
p8a3/ss = -1.000000000y

p9a0/min_fs = 0
p9a0/max_fs = 191
p9a0/min_ss = 3168
p9a0/max_ss = 3343
p9a0/res = 10000
p9a0/corner_x = -458.75
p9a0/corner_y = 13.95
p9a0/fs = -1.000000000x
p9a0/ss = -1.000000000y

p9a1/min_fs = 192
p9a1/max_fs = 383
p9a1/min_ss = 3168
p9a1/max_ss = 3343
p9a1/res = 10000
p9a1/corner_x = -653.25
p9a1/corner_y = 13.95
p9a1/fs = -1.000000000x
p9a1/ss = -1.000000000y

p9a2/min_fs = 0
p9a2/max_fs = 191
p9a2/min_ss = 3344
p9a2/max_ss = 3519
p9a2/res = 10000
p9a2/corner_x = -458.75
p9a2/corner_y = -164.55
p9a2/fs = -1.000000000x
p9a2/ss = -1.000000000y

p9a3/min_fs = 192
p9a3/max_fs = 383
p9a3/min_ss = 3344
p9a3/max_ss = 3519
p9a3/res = 10000
p9a3/corner_x = -653.25
p9a3/corner_y = -164.55
p9a3/fs = -1.000000000x
p9a3/ss = -1.000000000y

p10a0/min_fs = 0
p10a0/max_fs = 191
p10a0/min_ss = 3520
p10a0/max_ss = 3695
p10a0/res = 10000
p10a0/corner_x = -54.75
p10a0/corner_y = -403.45
p10a0/fs = -1.000000000x
p10a0/ss = -1.000000000y

p10a1/min_fs = 192
p10a1/max_fs = 383
p10a1/min_ss = 3520
p10a1/max_ss = 3695
p10a1/res = 10000
p10a1/corner_x = -249.25
p10a1/corner_y = -403.45
p10a1/fs = -1.000000000x
p10a1/ss = -1.000000000y

p10a2/min_fs = 0
p10a2/max_fs = 191
p10a2/min_ss = 3696
p10a2/max_ss = 3871
p10a2/res = 10000
p10a2/corner_x = -54.75
p10a2/corner_y = -581.95
p10a2/fs = -1.000000000x
p10a2/ss = -1.000000000y

p10a3/min_fs = 192
p10a3/max_fs = 383
p10a3/min_ss = 3696
p10a3/max_ss = 3871
p10a3/res = 10000
p10a3/corner_x = -249.25
p10a3/corner_y = -581.95
p10a3/fs = -1.000000000x
p10a3/ss = -1.000000000y

p11a0/min_fs = 0
p11a0/max_fs = 191
p11a0/min_ss = 3872
p11a0/max_ss = 4047
p11a0/res = 10000
p11a0/corner_x = -458.75
p11a0/corner_y = -403.45
p11a0/fs = -1.000000000x
p11a0/ss = -1.000000000y

p11a1/min_fs = 192
p11a1/max_fs = 383
p11a1/min_ss = 3872
p11a1/max_ss = 4047
p11a1/res = 10000
p11a1/corner_x = -653.25
p11a1/corner_y = -403.45
p11a1/fs = -1.000000000x
p11a1/ss = -1.000000000y

p11a2/min_fs = 0
p11a2/max_fs = 191
p11a2/min_ss = 4048
p11a2/max_ss = 4223
p11a2/res = 10000
p11a2/corner_x = -458.75
p11a2/corner_y = -581.95
p11a2/fs = -1.000000000x
p11a2/ss = -1.000000000y

p11a3/min_fs = 192
p11a3/max_fs = 383
p11a3/min_ss = 4048
p11a3/max_ss = 4223
p11a3/res = 10000
p11a3/corner_x = -653.25
p11a3/corner_y = -581.95
p11a3/fs = -1.000000000x
p11a3/ss = -1.000000000y

p12a0/min_fs = 0
p12a0/max_fs = 191
p12a0/min_ss = 4224
p12a0/max_ss = 4399
p12a0/res = 10000
p12a0/corner_x = 13.95
p12a0/corner_y = 54.75
p12a0/fs = +1.000000000y
p12a0/ss = -1.000000000x

p12a1/min_fs = 192
p12a1/max_fs = 383
p12a1/min_ss = 4224
p12a1/max_ss = 4399
p12a1/res = 10000
p12a1/corner_x = 13.95
p12a1/corner_y = 249.25
p12a1/fs = +1.000000000y
p12a1/ss = -1.000000000x

p12a2/min_fs = 0
p12a2/max_fs = 191
p12a2/min_ss = 4400
p12a2/max_ss = 4575
p12a2/res = 10000
p12a2/corner_x = -164.55
p12a2/corner_y = 54.75
p12a2/fs = +1.000000000y
p12a2/ss = -1.000000000x

p12a3/min_fs = 192
p12a3/max_fs = 383
p12a3/min_ss = 4400
p12a3/max_ss = 4575
p12a3/res = 10000
p12a3/corner_x = -164.55
p12a3/corner_y = 249.25
p12a3/fs = +1.000000000y
p12a3/ss = -1.000000000x

p13a0/min_fs = 0
p13a0/max_fs = 191
p13a0/min_ss = 4576
p13a0/max_ss = 4751
p13a0/res = 10000
p13a0/corner_x = 13.95
p13a0/corner_y = 458.75
p13a0/fs = +1.000000000y
p13a0/ss = -1.000000000x

p13a1/min_fs = 192
p13a1/max_fs = 383
p13a1/min_ss = 4576
p13a1/max_ss = 4751
p13a1/res = 10000
p13a1/corner_x = 13.95
p13a1/corner_y = 653.25
p13a1/fs = +1.000000000y
p13a1/ss = -1.000000000x

p13a2/min_fs = 0
p13a2/max_fs = 191
p13a2/min_ss = 4752
p13a2/max_ss = 4927
p13a2/res = 10000
p13a2/corner_x = -164.55
p13a2/corner_y = 458.75
p13a2/fs = +1.000000000y
p13a2/ss = -1.000000000x

p13a3/min_fs = 192
p13a3/max_fs = 383
p13a3/min_ss = 4752
p13a3/max_ss = 4927
p13a3/res = 10000
p13a3/corner_x = -164.55
p13a3/corner_y = 653.25
p13a3/fs = +1.000000000y
p13a3/ss = -1.000000000x

p14a0/min_fs = 0
p14a0/max_fs = 191
p14a0/min_ss = 4928
p14a0/max_ss = 5103
p14a0/res = 10000
p14a0/corner_x = -403.45
p14a0/corner_y = 54.75
p14a0/fs = +1.000000000y
p14a0/ss = -1.000000000x

p14a1/min_fs = 192
p14a1/max_fs = 383
p14a1/min_ss = 4928
p14a1/max_ss = 5103
p14a1/res = 10000
p14a1/corner_x = -403.45
p14a1/corner_y = 249.25
p14a1/fs = +1.000000000y
p14a1/ss = -1.000000000x

p14a2/min_fs = 0
p14a2/max_fs = 191
p14a2/min_ss = 5104
p14a2/max_ss = 5279
p14a2/res = 10000
p14a2/corner_x = -581.95
p14a2/corner_y = 54.75
p14a2/fs = +1.000000000y
p14a2/ss = -1.000000000x

p14a3/min_fs = 192
p14a3/max_fs = 383
p14a3/min_ss = 5104
p14a3/max_ss = 5279
p14a3/res = 10000
p14a3/corner_x = -581.95
p14a3/corner_y = 249.25
p14a3/fs = +1.000000000y
p14a3/ss = -1.000000000x

p15a0/min_fs = 0
p15a0/max_fs = 191
p15a0/min_ss = 5280
p15a0/max_ss = 5455
p15a0/res = 10000
p15a0/corner_x = -403.45
p15a0/corner_y = 458.75
p15a0/fs = +1.000000000y
p15a0/ss = -1.000000000x

p15a1/min_fs = 192
p15a1/max_fs = 383
p15a1/min_ss = 5280
p15a1/max_ss = 5455
p15a1/res = 10000
p15a1/corner_x = -403.45
p15a1/corner_y = 653.25
p15a1/fs = +1.000000000y
p15a1/ss = -1.000000000x

p15a2/min_fs = 0
p15a2/max_fs = 191
p15a2/min_ss = 5456
p15a2/max_ss = 5631
p15a2/res = 10000
p15a2/corner_x = -581.95
p15a2/corner_y = 458.75
p15a2/fs = +1.000000000y
p15a2/ss = -1.000000000x

p15a3/min_fs = 192
p15a3/max_fs = 383
p15a3/min_ss = 5456
p15a3/max_ss = 5631
p15a3/res = 10000
p15a3/corner_x = -581.95
p15a3/corner_y = 653.25
p15a3/fs = +1.000000000y
p15a3/ss = -1.000000000x
