; Jungfrau16m: 32 modules of 512 x 1024 pixels of 75 um, 2 x 4 ASICs each with double-width pixels between them.
; Source: A. Mozzanica et al., Synchrotron Radiat. News 31 (2018) 16; module gaps of 8 and 36 pixels as in PSI's 4M.
; Nominal positions, for simulation and as a start: refine with your own data before indexing.
; clen, photon_energy and the gain are examples of how it is used.
photon_energy = 9500.0 eV
clen = 0.12 m
adu_per_eV = 0.001
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs

rigid_group_p0 = p0a0,p0a1,p0a2,p0a3,p0a4,p0a5,p0a6,p0a7
rigid_group_p1 = p1a0,p1a1,p1a2,p1a3,p1a4,p1a5,p1a6,p1a7
rigid_group_p2 = p2a0,p2a1,p2a2,p2a3,p2a4,p2a5,p2a6,p2a7
rigid_group_p3 = p3a0,p3a1,p3a2,p3a3,p3a4,p3a5,p3a6,p3a7
rigid_group_p4 = p4a0,p4a1,p4a2,p4a3,p4a4,p4a5,p4a6,p4a7
rigid_group_p5 = p5a0,p5a1,p5a2,p5a3,p5a4,p5a5,p5a6,p5a7
rigid_group_p6 = p6a0,p6a1,p6a2,p6a3,p6a4,p6a5,p6a6,p6a7
rigid_group_p7 = p7a0,p7a1,p7a2,p7a3,p7a4,p7a5,p7a6,p7a7
rigid_group_p8 = p8a0,p8a1,p8a2,p8a3,p8a4,p8a5,p8a6,p8a7
rigid_group_p9 = p9a0,p9a1,p9a2,p9a3,p9a4,p9a5,p9a6,p9a7
rigid_group_p10 = p10a0,p10a1,p10a2,p10a3,p10a4,p10a5,p10a6,p10a7
rigid_group_p11 = p11a0,p11a1,p11a2,p11a3,p11a4,p11a5,p11a6,p11a7
rigid_group_p12 = p12a0,p12a1,p12a2,p12a3,p12a4,p12a5,p12a6,p12a7
rigid_group_p13 = p13a0,p13a1,p13a2,p13a3,p13a4,p13a5,p13a6,p13a7
rigid_group_p14 = p14a0,p14a1,p14a2,p14a3,p14a4,p14a5,p14a6,p14a7
rigid_group_p15 = p15a0,p15a1,p15a2,p15a3,p15a4,p15a5,p15a6,p15a7
rigid_group_p16 = p16a0,p16a1,p16a2,p16a3,p16a4,p16a5,p16a6,p16a7
rigid_group_p17 = p17a0,p17a1,p17a2,p17a3,p17a4,p17a5,p17a6,p17a7
rigid_group_p18 = p18a0,p18a1,p18a2,p18a3,p18a4,p18a5,p18a6,p18a7
rigid_group_p19 = p19a0,p19a1,p19a2,p19a3,p19a4,p19a5,p19a6,p19a7
rigid_group_p20 = p20a0,p20a1,p20a2,p20a3,p20a4,p20a5,p20a6,p20a7
rigid_group_p21 = p21a0,p21a1,p21a2,p21a3,p21a4,p21a5,p21a6,p21a7
rigid_group_p22 = p22a0,p22a1,p22a2,p22a3,p22a4,p22a5,p22a6,p22a7
rigid_group_p23 = p23a0,p23a1,p23a2,p23a3,p23a4,p23a5,p23a6,p23a7
rigid_group_p24 = p24a0,p24a1,p24a2,p24a3,p24a4,p24a5,p24a6,p24a7
rigid_group_p25 = p25a0,p25a1,p25a2,p25a3,p25a4,p25a5,p25a6,p25a7
rigid_group_p26 = p26a0,p26a1,p26a2,p26a3,p26a4,p26a5,p26a6,p26a7
rigid_group_p27 = p27a0,p27a1,p27a2,p27a3,p27a4,p27a5,p27a6,p27a7
rigid_group_p28 = p28a0,p28a1,p28a2,p28a3,p28a4,p28a5,p28a6,p28a7
rigid_group_p29 = p29a0,p29a1,p29a2,p29a3,p29a4,p29a5,p29a6,p29a7
rigid_group_p30 = p30a0,p30a1,p30a2,p30a3,p30a4,p30a5,p30a6,p30a7
rigid_group_p31 = p31a0,p31a1,p31a2,p31a3,p31a4,p31a5,p31a6,p31a7
rigid_group_collection_modules = p0,p1,p2,p3,p4,p5,p6,p7,p8,p9,p10,p11,p12,p13,p14,p15,p16,p17,p18,p19,p20,p21,p22,p23,p24,p25,p26,p27,p28,p29,p30,p31

p0a0/min_fs = 0
p0a0/max_fs = 255
p0a0/min_ss = 0
p0a0/max_ss = 255
p0a0/res = 13333.3
p0a0/corner_x = -2071.99482
p0a0/corner_y = -2181.99454
p0a0/fs = +0.999997500x
p0a0/ss = +0.999997500y

p0a1/min_fs = 256
p0a1/max_fs = 511
p0a1/min_ss = 0
p0a1/max_ss = 255
p0a1/res = 13333.3
p0a1/corner_x = -1813.99546
p0a1/corner_y = -2181.99454
p0a1/fs = +0.999997500x
p0a1/ss = +0.999997500y

p0a2/min_fs = 512
p0a2/max_fs = 767
p0a2/min_ss = 0
p0a2/max_ss = 255
p0a2/res = 13333.3
p0a2/corner_x = -1555.99611
p0a2/corner_y = -2181.99454
p0a2/fs = +0.999997500x
p0a2/ss = +0.999997500y

p0a3/min_fs = 768
p0a3/max_fs = 1023
p0a3/min_ss = 0
p0a3/max_ss = 255
p0a3/res = 13333.3
p0a3/corner_x = -1297.99675
p0a3/corner_y = -2181.99454
p0a3/fs = +0.999997500x
p0a3/ss = +0.999997500y

p0a4/min_fs = 0
p0a4/max_fs = 255
p0a4/min_ss = 256
p0a4/max_ss = 511
p0a4/res = 13333.3
p0a4/corner_x = -2071.99482
p0a4/corner_y = -1923.99519
p0a4/fs = +0.999997500x
p0a4/ss = +0.999997500y

p0a5/min_fs = 256
p0a5/max_fs = 511
p0a5/min_ss = 256
p0a5/max_ss = 511
p0a5/res = 13333.3
p0a5/corner_x = -1813.99546
p0a5/corner_y = -1923.99519
p0a5/fs = +0.999997500x
p0a5/ss = +0.999997500y

p0a6/min_fs = 512
p0a6/max_fs = 767
p0a6/min_ss = 256
p0a6/max_ss = 511
p0a6/res = 13333.3
p0a6/corner_x = -1555.99611
p0a6/corner_y = -1923.99519
p0a6/fs = +0.999997500x
p0a6/ss = +0.999997500y

p0a7/min_fs = 768
p0a7/max_fs = 1023
p0a7/min_ss = 256
p0a7/max_ss = 511
p0a7/res = 13333.3
p0a7/corner_x = -1297.99675
p0a7/corner_y = -1923.99519
p0a7/fs = +0.999997500x
p0a7/ss = +0.999997500y

p1a0/min_fs = 0
p1a0/max_fs = 255
p1a0/min_ss = 512
p1a0/max_ss = 767
p1a0/res = 13333.3
p1a0/corner_x = -1033.99741
p1a0/corner_y = -2181.99454
p1a0/fs = +0.999997500x
p1a0/ss = +0.999997500y

p1a1/min_fs = 256
p1a1/max_fs = 511
p1a1/min_ss = 512
p1a1/max_ss = 767
p1a1/res = 13333.3
p1a1/corner_x = -775.99806
p1a1/corner_y = -2181.99454
p1a1/fs = +0.999997500x
p1a1/ss = +0.999997500y

p1a2/min_fs = 512
p1a2/max_fs = 767
p1a2/min_ss = 512
p1a2/max_ss = 767
p1a2/res = 13333.3
p1a2/corner_x = -517.998705
p1a2/corner_y = -2181.99454
p1a2/fs = +0.999997500x
p1a2/ss = +0.999997500y

p1a3/min_fs = 768
p1a3/max_fs = 1023
p1a3/min_ss = 512
p1a3/max_ss = 767
p1a3/res = 13333.3
p1a3/corner_x = -259.99935
p1a3/corner_y = -2181.99454
p1a3/fs = +0.999997500x
p1a3/ss = +0.999997500y

p1a4/min_fs = 0
p1a4/max_fs = 255
p1a4/min_ss = 768
p1a4/max_ss = 1023
p1a4/res = 13333.3
p1a4/corner_x = -1033.99741
p1a4/corner_y = -1923.99519
p1a4/fs = +0.999997500x
p1a4/ss = +0.999997500y

p1a5/min_fs = 256
p1a5/max_fs = 511
p1a5/min_ss = 768
p1a5/max_ss = 1023
p1a5/res = 13333.3
p1a5/corner_x = -775.99806
p1a5/corner_y = -1923.99519
p1a5/fs = +0.999997500x
p1a5/ss = +0.999997500y

p1a6/min_fs = 512
p1a6/max_fs = 767
p1a6/min_ss = 768
p1a6/max_ss = 1023
p1a6/res = 13333.3
p1a6/corner_x = -517.998705
p1a6/corner_y = -1923.99519
p1a6/fs = +0.999997500x
p1a6/ss = +0.999997500y

p1a7/min_fs = 768
p1a7/max_fs = 1023
p1a7/min_ss = 768
p1a7/max_ss = 1023
p1a7/res = 13333.3
p1a7/corner_x = -259.99935
p1a7/corner_y = -1923.99519
p1a7/fs = +0.999997500x
p1a7/ss = +0.999997500y

p2a0/min_fs = 0
p2a0/max_fs = 255
p2a0/min_ss = 1024
p2a0/max_ss = 1279
p2a0/res = 13333.3
p2a0/corner_x = 3.99999
p2a0/corner_y = -2181.99454
p2a0/fs = +0.999997500x
p2a0/ss = +0.999997500y

p2a1/min_fs = 256
p2a1/max_fs = 511
p2a1/min_ss = 1024
p2a1/max_ss = 1279
p2a1/res = 13333.3
p2a1/corner_x = 261.999345
p2a1/corner_y = -2181.99454
p2a1/fs = +0.999997500x
p2a1/ss = +0.999997500y

p2a2/min_fs = 512
p2a2/max_fs = 767
p2a2/min_ss = 1024
p2a2/max_ss = 1279
p2a2/res = 13333.3
p2a2/corner_x = 519.9987
p2a2/corner_y = -2181.99454
p2a2/fs = +0.999997500x
p2a2/ss = +0.999997500y

p2a3/min_fs = 768
p2a3/max_fs = 1023
p2a3/min_ss = 1024
p2a3/max_ss = 1279
p2a3/res = 13333.3
p2a3/corner_x = 777.998055
p2a3/corner_y = -2181.99454
p2a3/fs = +0.999997500x
p2a3/ss = +0.999997500y

p2a4/min_fs = 0
p2a4/max_fs = 255
p2a4/min_ss = 1280
p2a4/max_ss = 1535
p2a4/res = 13333.3
p2a4/corner_x = 3.99999
p2a4/corner_y = -1923.99519
p2a4/fs = +0.999997500x
p2a4/ss = +0.999997500y

p2a5/min_fs = 256
p2a5/max_fs = 511
p2a5/min_ss = 1280
p2a5/max_ss = 1535
p2a5/res = 13333.3
p2a5/corner_x = 261.999345
p2a5/corner_y = -1923.99519
p2a5/fs = +0.999997500x
p2a5/ss = +0.999997500y

p2a6/min_fs = 512
p2a6/max_fs = 767
p2a6/min_ss = 1280
p2a6/max_ss = 1535
p2a6/res = 13333.3
p2a6/corner_x = 519.9987
p2a6/corner_y = -1923.99519
p2a6/fs = +0.999997500x
p2a6/ss = +0.999997500y

p2a7/min_fs = 768
p2a7/max_fs = 1023
p2a7/min_ss = 1280
p2a7/max_ss = 1535
p2a7/res = 13333.3
p2a7/corner_x = 777.998055
p2a7/corner_y = -1923.99519
p2a7/fs = +0.999997500x
p2a7/ss = +0.999997500y

p3a0/min_fs = 0
p3a0/max_fs = 255
p3a0/min_ss = 1536
p3a0/max_ss = 1791
p3a0/res = 13333.3
p3a0/corner_x = 1041.99739
p3a0/corner_y = -2181.99454
p3a0/fs = +0.999997500x
p3a0/ss = +0.999997500y

p3a1/min_fs = 256
p3a1/max_fs = 511
p3a1/min_ss = 1536
p3a1/max_ss = 1791
p3a1/res = 13333.3
p3a1/corner_x = 1299.99675
p3a1/corner_y = -2181.99454
p3a1/fs = +0.999997500x
p3a1/ss = +0.999997500y

p3a2/min_fs = 512
p3a2/max_fs = 767
p3a2/min_ss = 1536
p3a2/max_ss = 1791
p3a2/res = 13333.3
p3a2/corner_x = 1557.9961
p3a2/corner_y = -2181.99454
p3a2/fs = +0.999997500x
p3a2/ss = +0.999997500y

p3a3/min_fs = 768
p3a3/max_fs = 1023
p3a3/min_ss = 1536
p3a3/max_ss = 1791
p3a3/res = 13333.3
p3a3/corner_x = 1815.99546
p3a3/corner_y = -2181.99454
p3a3/fs = +0.999997500x
p3a3/ss = +0.999997500y

p3a4/min_fs = 0
p3a4/max_fs = 255
p3a4/min_ss = 1792
p3a4/max_ss = 2047
p3a4/res = 13333.3
p3a4/corner_x = 1041.99739
p3a4/corner_y = -1923.99519
p3a4/fs = +0.999997500x
p3a4/ss = +0.999997500y

p3a5/min_fs = 256
p3a5/max_fs = 511
p3a5/min_ss = 1792
p3a5/max_ss = 2047
p3a5/res = 13333.3
p3a5/corner_x = 1299.99675
p3a5/corner_y = -1923.99519
p3a5/fs = +0.999997500x
p3a5/ss = +0.999997500y

p3a6/min_fs = 512
p3a6/max_fs = 767
p3a6/min_ss = 1792
p3a6/max_ss = 2047
p3a6/res = 13333.3
p3a6/corner_x = 1557.9961
p3a6/corner_y = -1923.99519
p3a6/fs = +0.999997500x
p3a6/ss = +0.999997500y

p3a7/min_fs = 768
p3a7/max_fs = 1023
p3a7/min_ss = 1792
p3a7/max_ss = 2047
p3a7/res = 13333.3
p3a7/corner_x = 1815.99546
p3a7/corner_y = -1923.99519
p3a7/fs = +0.999997500x
p3a7/ss = +0.999997500y

p4a0/min_fs = 0
p4a0/max_fs = 255
p4a0/min_ss = 2048
p4a0/max_ss = 2303
p4a0/res = 13333.3
p4a0/corner_x = -2071.99482
p4a0/corner_y = -1631.99592
p4a0/fs = +0.999997500x
p4a0/ss = +0.999997500y

p4a1/min_fs = 256
p4a1/max_fs = 511
p4a1/min_ss = 2048
p4a1/max_ss = 2303
p4a1/res = 13333.3
p4a1/corner_x = -1813.99546
p4a1/corner_y = -1631.99592
p4a1/fs = +0.999997500x
p4a1/ss = +0.999997500y

p4a2/min_fs = 512
p4a2/max_fs = 767
p4a2/min_ss = 2048
p4a2/max_ss = 2303
p4a2/res = 13333.3
p4a2/corner_x = -1555.99611
p4a2/corner_y = -1631.99592
p4a2/fs = +0.999997500x
p4a2/ss = +0.999997500y

p4a3/min_fs = 768
p4a3/max_fs = 1023
p4a3/min_ss = 2048
p4a3/max_ss = 2303
p4a3/res = 13333.3
p4a3/corner_x = -1297.99675
p4a3/corner_y = -1631.99592
p4a3/fs = +0.999997500x
p4a3/ss = +0.999997500y

p4a4/min_fs = 0
p4a4/max_fs = 255
p4a4/min_ss = 2304
p4a4/max_ss = 2559
p4a4/res = 13333.3
p4a4/corner_x = -2071.99482
p4a4/corner_y = -1373.99656
p4a4/fs = +0.999997500x
p4a4/ss = +0.999997500y

p4a5/min_fs = 256
p4a5/max_fs = 511
p4a5/min_ss = 2304
p4a5/max_ss = 2559
p4a5/res = 13333.3
p4a5/corner_x = -1813.99546
p4a5/corner_y = -1373.99656
p4a5/fs = +0.999997500x
p4a5/ss = +0.999997500y

p4a6/min_fs = 512
p4a6/max_fs = 767
p4a6/min_ss = 2304
p4a6/max_ss = 2559
p4a6/res = 13333.3
p4a6/corner_x = -1555.99611
p4a6/corner_y = -1373.99656
p4a6/fs = +0.999997500x
p4a6/ss = +0.999997500y

p4a7/min_fs = 768
p4a7/max_fs = 1023
p4a7/min_ss = 2304
p4a7/max_ss = 2559
p4a7/res = 13333.3
p4a7/corner_x = -1297.99675
p4a7/corner_y = -1373.99656
p4a7/fs = +0.999997500x
p4a7/ss = +0.999997500y

p5a0/min_fs = 0
p5a0/max_fs = 255
p5a0/min_ss = 2560
p5a0/max_ss = 2815
p5a0/res = 13333.3
p5a0/corner_x = -1033.99741
p5a0/corner_y = -1631.99592
p5a0/fs = +0.999997500x
p5a0/ss = +0.999997500y

p5a1/min_fs = 256
p5a1/max_fs = 511
p5a1/min_ss = 2560
p5a1/max_ss = 2815
p5a1/res = 13333.3
p5a1/corner_x = -775.99806
p5a1/corner_y = -1631.99592
p5a1/fs = +0.999997500x
p5a1/ss = +0.999997500y

p5a2/min_fs = 512
p5a2/max_fs = 767
p5a2/min_ss = 2560
p5a2/max_ss = 2815
p5a2/res = 13333.3
p5a2/corner_x = -517.998705
p5a2/corner_y = -1631.99592
p5a2/fs = +0.999997500x
p5a2/ss = +0.999997500y

p5a3/min_fs = 768
p5a3/max_fs = 1023
p5a3/min_ss = 2560
p5a3/max_ss = 2815
p5a3/res = 13333.3
p5a3/corner_x = -259.99935
p5a3/corner_y = -1631.99592
p5a3/fs = +0.999997500x
p5a3/ss = +0.999997500y

p5a4/min_fs = 0
p5a4/max_fs = 255
p5a4/min_ss = 2816
p5a4/max_ss = 3071
p5a4/res = 13333.3
p5a4/corner_x = -1033.99741
p5a4/corner_y = -1373.99656
p5a4/fs = +0.999997500x
p5a4/ss = +0.999997500y

p5a5/min_fs = 256
p5a5/max_fs = 511
p5a5/min_ss = 2816
p5a5/max_ss = 3071
p5a5/res = 13333.3
p5a5/corner_x = -775.99806
p5a5/corner_y = -1373.99656
p5a5/fs = +0.999997500x
p5a5/ss = +0.999997500y

p5a6/min_fs = 512
p5a6/max_fs = 767
p5a6/min_ss = 2816
p5a6/max_ss = 3071
p5a6/res = 13333.3
p5a6/corner_x = -517.998705
p5a6/corner_y = -1373.99656
p5a6/fs = +0.999997500x
p5a6/ss = +0.999997500y

p5a7/min_fs = 768
p5a7/max_fs = 1023
p5a7/min_ss = 2816
p5a7/max_ss = 3071
p5a7/res = 13333.3
p5a7/corner_x = -259.99935
p5a7/corner_y = -1373.99656
p5a7/fs = +0.999997500x
p5a7/ss = +0.999997500y

p6a0/min_fs = 0
p6a0/max_fs = 255
p6a0/min_ss = 3072
p6a0/max_ss = 3327
p6a0/res = 13333.3
p6a0/corner_x = 3.99999
p6a0/corner_y = -1631.99592
p6a0/fs = +0.999997500x
p6a0/ss = +0.999997500y

p6a1/min_fs = 256
p6a1/max_fs = 511
p6a1/min_ss = 3072
p6a1/max_ss = 3327
p6a1/res = 13333.3
p6a1/corner_x = 261.999345
p6a1/corner_y = -1631.99592
p6a1/fs = +0.999997500x
p6a1/ss = +0.999997500y

p6a2/min_fs = 512
p6a2/max_fs = 767
p6a2/min_ss = 3072
p6a2/max_ss = 3327
p6a2/res = 13333.3
p6a2/corner_x = 519.9987
p6a2/corner_y = -1631.99592
p6a2/fs = +0.999997500x
p6a2/ss = +0.999997500y

p6a3/min_fs = 768
p6a3/max_fs = 1023
p6a3/min_ss = 3072
p6a3/max_ss = 3327
p6a3/res = 13333.3
p6a3/corner_x = 777.998055
p6a3/corner_y = -1631.99592
p6a3/fs = +0.999997500x
p6a3/ss = +0.999997500y

p6a4/min_fs = 0
p6a4/max_fs = 255
p6a4/min_ss = 3328
p6a4/max_ss = 3583
p6a4/res = 13333.3
p6a4/corner_x = 3.99999
p6a4/corner_y = -1373.99656
p6a4/fs = +0.999997500x
p6a4/ss = +0.999997500y

p6a5/min_fs = 256
p6a5/max_fs = 511
p6a5/min_ss = 3328
p6a5/max_ss = 3583
p6a5/res = 13333.3
p6a5/corner_x = 261.999345
p6a5/corner_y = -1373.99656
p6a5/fs = +0.999997500x
p6a5/ss = +0.999997500y

p6a6/min_fs = 512
p6a6/max_fs = 767
p6a6/min_ss = 3328
p6a6/max_ss = 3583
p6a6/res = 13333.3
p6a6/corner_x = 519.9987
p6a6/corner_y = -1373.99656
p6a6/fs = +0.999997500x
p6a6/ss = +0.999997500y

p6a7/min_fs = 768
p6a7/max_fs = 1023
p6a7/min_ss = 3328
p6a7/max_ss = 3583
p6a7/res = 13333.3
p6a7/corner_x = 777.998055
p6a7/corner_y = -1373.99656
p6a7/fs = +0.999997500x
p6a7/ss = +0.999997500y

p7a0/min_fs = 0
p7a0/max_fs = 255
p7a0/min_ss = 3584
p7a0/max_ss = 3839
p7a0/res = 13333.3
p7a0/corner_x = 1041.99739
p7a0/corner_y = -1631.99592
p7a0/fs = +0.999997500x
p7a0/ss = +0.999997500y

p7a1/min_fs = 256
p7a1/max_fs = 511
p7a1/min_ss = 3584
p7a1/max_ss = 3839
p7a1/res = 13333.3
p7a1/corner_x = 1299.99675
p7a1/corner_y = -1631.99592
p7a1/fs = +0.999997500x
p7a1/ss = +0.999997500y

p7a2/min_fs = 512
p7a2/max_fs = 767
p7a2/min_ss = 3584
p7a2/max_ss = 3839
p7a2/res = 13333.3
p7a2/corner_x = 1557.9961
p7a2/corner_y = -1631.99592
p7a2/fs = +0.999997500x
p7a2/ss = +0.999997500y

p7a3/min_fs = 768
p7a3/max_fs = 1023
p7a3/min_ss = 3584
p7a3/max_ss = 3839
p7a3/res = 13333.3
p7a3/corner_x = 1815.99546
p7a3/corner_y = -1631.99592
p7a3/fs = +0.999997500x
p7a3/ss = +0.999997500y

p7a4/min_fs = 0
p7a4/max_fs = 255
p7a4/min_ss = 3840
p7a4/max_ss = 4095
p7a4/res = 13333.3
p7a4/corner_x = 1041.99739
p7a4/corner_y = -1373.99656
p7a4/fs = +0.999997500x
p7a4/ss = +0.999997500y

p7a5/min_fs = 256
p7a5/max_fs = 511
p7a5/min_ss = 3840
p7a5/max_ss = 4095
p7a5/res = 13333.3
p7a5/corner_x = 1299.99675
p7a5/corner_y = -1373.99656
p7a5/fs = +0.999997500x
p7a5/ss = +0.999997500y

p7a6/min_fs = 512
p7a6/max_fs = 767
p7a6/min_ss = 3840
p7a6/max_ss = 4095
p7a6/res = 13333.3
p7a6/corner_x = 1557.9961
p7a6/corner_y = -1373.99656
p7a6/fs = +0.999997500x
p7a6/ss = +0.999997500y

p7a7/min_fs = 768
p7a7/max_fs = 1023
p7a7/min_ss = 3840
p7a7/max_ss = 4095
p7a7/res = 13333.3
p7a7/corner_x = 1815.99546
p7a7/corner_y = -1373.99656
p7a7/fs = +0.999997500x
p7a7/ss = +0.999997500y

p8a0/min_fs = 0
p8a0/max_fs = 255
p8a0/min_ss = 4096
p8a0/max_ss = 4351
p8a0/res = 13333.3
p8a0/corner_x = -2071.99482
p8a0/corner_y = -1081.99729
p8a0/fs = +0.999997500x
p8a0/ss = +0.999997500y

p8a1/min_fs = 256
p8a1/max_fs = 511
p8a1/min_ss = 4096
p8a1/max_ss = 4351
p8a1/res = 13333.3
p8a1/corner_x = -1813.99546
p8a1/corner_y = -1081.99729
p8a1/fs = +0.999997500x
p8a1/ss = +0.999997500y

p8a2/min_fs = 512
p8a2/max_fs = 767
p8a2/min_ss = 4096
p8a2/max_ss = 4351
p8a2/res = 13333.3
p8a2/corner_x = -1555.99611
p8a2/corner_y = -1081.99729
p8a2/fs = +0.999997500x
p8a2/ss = +0.999997500y

p8a3/min_fs = 768
p8a3/max_fs = 1023
p8a3/min_ss = 4096
p8a3/max_ss = 4351
p8a3/res = 13333.3
p8a3/corner_x = -1297.99675
p8a3/corner_y = -1081.99729
p8a3/fs = +0.999997500x
p8a3/ss = +0.999997500y

p8a4/min_fs = 0
p8a4/max_fs = 255
p8a4/min_ss = 4352
p8a4/max_ss = 4607
p8a4/res = 13333.3
p8a4/corner_x = -2071.99482
p8a4/corner_y = -823.99794
p8a4/fs = +0.999997500x
p8a4/ss = +0.999997500y

p8a5/min_fs = 256
p8a5/max_fs = 511
p8a5/min_ss = 4352
p8a5/max_ss = 4607
p8a5/res = 13333.3
p8a5/corner_x = -1813.99546
p8a5/corner_y = -823.99794
p8a5/fs = +0.999997500x
p8a5/ss = +0.999997500y

p8a6/min_fs = 512
p8a6/max_fs = 767
p8a6/min_ss = 4352
p8a6/max_ss = 4607
p8a6/res = 13333.3
p8a6/corner_x = -1555.99611
p8a6/corner_y = -823.99794
p8a6/fs = +0.999997500x
p8a6/ss = +0.999997500y

p8a7/min_fs = 768
p8a7/max_fs = 1023
p8a7/min_ss = 4352
p8a7/max_ss = 4607
p8a7/res = 13333.3
p8a7/corner_x = -1297.99675
p8a7/corner_y = -823.99794
p8a7/fs = +0.999997500x
p8a7/ss = +0.999997500y

p9a0/min_fs = 0
p9a0/max_fs = 255
p9a0/min_ss = 4608
p9a0/max_ss = 4863
p9a0/res = 13333.3
p9a0/corner_x = -1033.99741
p9a0/corner_y = -1081.99729
p9a0/fs = +0.999997500x
p9a0/ss = +0.999997500y

p9a1/min_fs = 256
p9a1/max_fs = 511
p9a1/min_ss = 4608
p9a1/max_ss = 4863
p9a1/res = 13333.3
p9a1/corner_x = -775.99806
p9a1/corner_y = -1081.99729
p9a1/fs = +0.999997500x
p9a1/ss = +0.999997500y

p9a2/min_fs = 512
p9a2/max_fs = 767
p9a2/min_ss = 4608
p9a2/max_ss = 4863
p9a2/res = 13333.3
p9a2/corner_x = -517.998705
p9a2/corner_y = -1081.99729
p9a2/fs = +0.999997500x
p9a2/ss = +0.999997500y

p9a3/min_fs = 768
p9a3/max_fs = 1023
p9a3/min_ss = 4608
p9a3/max_ss = 4863
p9a3/res = 13333.3
p9a3/corner_x = -259.99935
p9a3/corner_y = -1081.99729
p9a3/fs = +0.999997500x
p9a3/ss = +0.999997500y

p9a4/min_fs = 0
p9a4/max_fs = 255
p9a4/min_ss = 4864
p9a4/max_ss = 5119
p9a4/res = 13333.3
p9a4/corner_x = -1033.99741
p9a4/corner_y = -823.99794
p9a4/fs = +0.999997500x
p9a4/ss = +0.999997500y

p9a5/min_fs = 256
p9a5/max_fs = 511
p9a5/min_ss = 4864
p9a5/max_ss = 5119
p9a5/res = 13333.3
p9a5/corner_x = -775.99806
p9a5/corner_y = -823.99794
p9a5/fs = +0.999997500x
p9a5/ss = +0.999997500y

p9a6/min_fs = 512
p9a6/max_fs = 767
p9a6/min_ss = 4864
p9a6/max_ss = 5119
p9a6/res = 13333.3
p9a6/corner_x = -517.998705
p9a6/corner_y = -823.99794
p9a6/fs = +0.999997500x
p9a6/ss = +0.999997500y

p9a7/min_fs = 768
p9a7/max_fs = 1023
p9a7/min_ss = 4864
p9a7/max_ss = 5119
p9a7/res = 13333.3
p9a7/corner_x = -259.99935
p9a7/corner_y = -823.99794
p9a7/fs = +0.999997500x
p9a7/ss = +0.999997500y

p10a0/min_fs = 0
p10a0/max_fs = 255
p10a0/min_ss = 5120
p10a0/max_ss = 5375
p10a0/res = 13333.3
p10a0/corner_x = 3.99999
p10a0/corner_y = -1081.99729
p10a0/fs = +0.999997500x
p10a0/ss = +0.999997500y

p10a1/min_fs = 256
p10a1/max_fs = 511
p10a1/min_ss = 5120
p10a1/max_ss = 5375
p10a1/res = 13333.3
p10a1/corner_x = 261.999345
p10a1/corner_y = -1081.99729
p10a1/fs = +0.999997500x
p10a1/ss = +0.999997500y

p10a2/min_fs = 512
p10a2/max_fs = 767
p10a2/min_ss = 5120
p10a2/max_ss = 5375
p10a2/res = 13333.3
p10a2/corner_x = 519.9987
p10a2/corner_y = -1081.99729
p10a2/fs = +0.999997500x
p10a2/ss = +0.999997500y

p10a3/min_fs = 768
p10a3/max_fs = 1023
p10a3/min_ss = 5120
p10a3/max_ss = 5375
p10a3/res = 13333.3
p10a3/corner_x = 777.998055
p10a3/corner_y = -1081.99729
p10a3/fs = +0.999997500x
p10a3/ss = +0.999997500y

p10a4/min_fs = 0
p10a4/max_fs = 255
p10a4/min_ss = 5376
p10a4/max_ss = 5631
p10a4/res = 13333.3
p10a4/corner_x = 3.99999
p10a4/corner_y = -823.99794
p10a4/fs = +0.999997500x
p10a4/ss = +0.999997500y

p10a5/min_fs = 256
p10a5/max_fs = 511
p10a5/min_ss = 5376
p10a5/max_ss = 5631
p10a5/res = 13333.3
p10a5/corner_x = 261.999345
p10a5/corner_y = -823.99794
p10a5/fs = +0.999997500x
p10a5/ss = +0.999997500y

p10a6/min_fs = 512
p10a6/max_fs = 767
p10a6/min_ss = 5376
p10a6/max_ss = 5631
p10a6/res = 13333.3
p10a6/corner_x = 519.9987
p10a6/corner_y = -823.99794
p10a6/fs = +0.999997500x
p10a6/ss = +0.999997500y

p10a7/min_fs = 768
p10a7/max_fs = 1023
p10a7/min_ss = 5376
p10a7/max_ss = 5631
p10a7/res = 13333.3
p10a7/corner_x = 777.998055
p10a7/corner_y = -823.99794
p10a7/fs = +0.999997500x
p10a7/ss = +0.999997500y

p11a0/min_fs = 0
p11a0/max_fs = 255
p11a0/min_ss = 5632
p11a0/max_ss = 5887
p11a0/res = 13333.3
p11a0/corner_x = 1041.99739
p11a0/corner_y = -1081.99729
p11a0/fs = +0.999997500x
p11a0/ss = +0.999997500y

p11a1/min_fs = 256
p11a1/max_fs = 511
p11a1/min_ss = 5632
p11a1/max_ss = 5887
p11a1/res = 13333.3
p11a1/corner_x = 1299.99675
p11a1/corner_y = -1081.99729
p11a1/fs = +0.999997500x
p11a1/ss = +0.999997500y

p11a2/min_fs = 512
p11a2/max_fs = 767
p11a2/min_ss = 5632
p11a2/max_ss = 5887
p11a2/res = 13333.3
p11a2/corner_x = 1557.9961
p11a2/corner_y = -1081.99729
p11a2/fs = +0.999997500x
p11a2/ss = +0.999997500y

p11a3/min_fs = 768
p11a3/max_fs = 1023
p11a3/min_ss = 5632
p11a3/max_ss = 5887
p11a3/res = 13333.3
p11a3/corner_x = 1815.99546
p11a3/corner_y = -1081.99729
p11a3/fs = +0.999997500x
p11a3/ss = +0.999997500y

p11a4/min_fs = 0
p11a4/max_fs = 255
p11a4/min_ss = 5888
p11a4/max_ss = 6143
p11a4/res = 13333.3
p11a4/corner_x = 1041.99739
p11a4/corner_y = -823.99794
p11a4/fs = +0.999997500x
p11a4/ss = +0.999997500y

p11a5/min_fs = 256
p11a5/max_fs = 511
p11a5/min_ss = 5888
p11a5/max_ss = 6143
p11a5/res = 13333.3
p11a5/corner_x = 1299.99675
p11a5/corner_y = -823.99794
p11a5/fs = +0.999997500x
p11a5/ss = +0.999997500y

p11a6/min_fs = 512
p11a6/max_fs = 767
p11a6/min_ss = 5888
p11a6/max_ss = 6143
p11a6/res = 13333.3
p11a6/corner_x = 1557.9961
p11a6/corner_y = -823.99794
p11a6/fs = +0.999997500x
p11a6/ss = +0.999997500y

p11a7/min_fs = 768
p11a7/max_fs = 1023
p11a7/min_ss = 5888
p11a7/max_ss = 6143
p11a7/res = 13333.3
p11a7/corner_x = 1815.99546
p11a7/corner_y = -823.99794
p11a7/fs = +0.999997500x
p11a7/ss = +0.999997500y

p12a0/min_fs = 0
p12a0/max_fs = 255
p12a0/min_ss = 6144
p12a0/max_ss = 6399
p12a0/res = 13333.3
p12a0/corner_x = -2071.99482
p12a0/corner_y = -531.99867
p12a0/fs = +0.999997500x
p12a0/ss = +0.999997500y

p12a1/min_fs = 256
p12a1/max_fs = 511
p12a1/min_ss = 6144
p12a1/max_ss = 6399
p12a1/res = 13333.3
p12a1/corner_x = -1813.99546
p12a1/corner_y = -531.99867
p12a1/fs = +0.999997500x
p12a1/ss = +0.999997500y

p12a2/min_fs = 512
p12a2/max_fs = 767
p12a2/min_ss = 6144
p12a2/max_ss = 6399
p12a2/res = 13333.3
p12a2/corner_x = -1555.99611
p12a2/corner_y = -531.99867
p12a2/fs = +0.999997500x
p12a2/ss = +0.999997500y

p12a3/min_fs = 768
p12a3/max_fs = 1023
p12a3/min_ss = 6144
p12a3/max_ss = 6399
p12a3/res = 13333.3
p12a3/corner_x = -1297.99675
p12a3/corner_y = -531.99867
p12a3/fs = +0.999997500x
p12a3/ss = +0.999997500y

p12a4/min_fs = 0
p12a4/max_fs = 255
p12a4/min_ss = 6400
p12a4/max_ss = 6655
p12a4/res = 13333.3
p12a4/corner_x = -2071.99482
p12a4/corner_y = -273.999315
p12a4/fs = +0.999997500x
p12a4/ss = +0.999997500y

p12a5/min_fs = 256
p12a5/max_fs = 511
p12a5/min_ss = 6400
p12a5/max_ss = 6655
p12a5/res = 13333.3
p12a5/corner_x = -1813.99546
p12a5/corner_y = -273.999315
p12a5/fs = +0.999997500x
p12a5/ss = +0.999997500y

p12a6/min_fs = 512
p12a6/max_fs = 767
p12a6/min_ss = 6400
p12a6/max_ss = 6655
p12a6/res = 13333.3
p12a6/corner_x = -1555.99611
p12a6/corner_y = -273.999315
p12a6/fs = +0.999997500x
p12a6/ss = +0.999997500y

p12a7/min_fs = 768
p12a7/max_fs = 1023
p12a7/min_ss = 6400
p12a7/max_ss = 6655
p12a7/res = 13333.3
p12a7/corner_x = -1297.99675
p12a7/corner_y = -273.999315
p12a7/fs = +0.999997500x
p12a7/ss = +0.999997500y

p13a0/min_fs = 0
p13a0/max_fs = 255
p13a0/min_ss = 6656
p13a0/max_ss = 6911
p13a0/res = 13333.3
p13a0/corner_x = -1033.99741
p13a0/corner_y = -531.99867
p13a0/fs = +0.999997500x
p13a0/ss = +0.999997500y

p13a1/min_fs = 256
p13a1/max_fs = 511
p13a1/min_ss = 6656
p13a1/max_ss = 6911
p13a1/res = 13333.3
p13a1/corner_x = -775.99806
p13a1/corner_y = -531.99867
p13a1/fs = +0.999997500x
p13a1/ss = +0.999997500y

p13a2/min_fs = 512
p13a2/max_fs = 767
p13a2/min_ss = 6656
p13a2/max_ss = 6911
p13a2/res = 13333.3
p13a2/corner_x = -517.998705
p13a2/corner_y = -531.99867
p13a2/fs = +0.999997500x
p13a2/ss = +0.999997500y

p13a3/min_fs = 768
p13a3/max_fs = 1023
p13a3/min_ss = 6656
p13a3/max_ss = 6911
p13a3/res = 13333.3
p13a3/corner_x = -259.99935
p13a3/corner_y = -531.99867
p13a3/fs = +0.999997500x
p13a3/ss = +0.999997500y

p13a4/min_fs = 0
p13a4/max_fs = 255
p13a4/min_ss = 6912
p13a4/max_ss = 7167
p13a4/res = 13333.3
p13a4/corner_x = -1033.99741
p13a4/corner_y = -273.999315
p13a4/fs = +0.999997500x
p13a4/ss = +0.999997500y

p13a5/min_fs = 256
p13a5/max_fs = 511
p13a5/min_ss = 6912
p13a5/max_ss = 7167
p13a5/res = 13333.3
p13a5/corner_x = -775.99806
p13a5/corner_y = -273.999315
p13a5/fs = +0.999997500x
p13a5/ss = +0.999997500y

p13a6/min_fs = 512
p13a6/max_fs = 767
p13a6/min_ss = 6912
p13a6/max_ss = 7167
p13a6/res = 13333.3
p13a6/corner_x = -517.998705
p13a6/corner_y = -273.999315
p13a6/fs = +0.999997500x
p13a6/ss = +0.999997500y

p13a7/min_fs = 768
p13a7/max_fs = 1023
p13a7/min_ss = 6912
p13a7/max_ss = 7167
p13a7/res = 13333.3
p13a7/corner_x = -259.99935
p13a7/corner_y = -273.999315
p13a7/fs = +0.999997500x
p13a7/ss = +0.999997500y

p14a0/min_fs = 0
p14a0/max_fs = 255
p14a0/min_ss = 7168
p14a0/max_ss = 7423
p14a0/res = 13333.3
p14a0/corner_x = 3.99999
p14a0/corner_y = -531.99867
p14a0/fs = +0.999997500x
p14a0/ss = +0.999997500y

p14a1/min_fs = 256
p14a1/max_fs = 511
p14a1/min_ss = 7168
p14a1/max_ss = 7423
p14a1/res = 13333.3
p14a1/corner_x = 261.999345
p14a1/corner_y = -531.99867
p14a1/fs = +0.999997500x
p14a1/ss = +0.999997500y

p14a2/min_fs = 512
p14a2/max_fs = 767
p14a2/min_ss = 7168
p14a2/max_ss = 7423
p14a2/res = 13333.3
p14a2/corner_x = 519.9987
p14a2/corner_y = -531.99867
p14a2/fs = +0.999997500x
p14a2/ss = +0.999997500y

p14a3/min_fs = 768
p14a3/max_fs = 1023
p14a3/min_ss = 7168
p14a3/max_ss = 7423
p14a3/res = 13333.3
p14a3/corner_x = 777.998055
p14a3/corner_y = -531.99867
p14a3/fs = +0.999997500x
p14a3/ss = +0.999997500y

p14a4/min_fs = 0
p14a4/max_fs = 255
p14a4/min_ss = 7424
p14a4/max_ss = 7679
p14a4/res = 13333.3
p14a4/corner_x = 3.99999
p14a4/corner_y = -273.999315
p14a4/fs = +0.999997500x
p14a4/ss = +0.999997500y

p14a5/min_fs = 256
p14a5/max_fs = 511
p14a5/min_ss = 7424
p14a5/max_ss = 7679
p14a5/res = 13333.3
p14a5/corner_x = 261.999345
p14a5/corner_y = -273.999315
p14a5/fs = +0.999997500x
p14a5/ss = +0.999997500y

p14a6/min_fs = 512
p14a6/max_fs = 767
p14a6/min_ss = 7424
p14a6/max_ss = 7679
p14a6/res = 13333.3
p14a6/corner_x = 519.9987
p14a6/corner_y = -273.999315
p14a6/fs = +0.999997500x
p14a6/ss = +0.999997500y

p14a7/min_fs = 768
p14a7/max_fs = 1023
p14a7/min_ss = 7424
p14a7/max_ss = 7679
p14a7/res = 13333.3
p14a7/corner_x = 777.998055
p14a7/corner_y = -273.999315
p14a7/fs = +0.999997500x
p14a7/ss = +0.999997500y

p15a0/min_fs = 0
p15a0/max_fs = 255
p15a0/min_ss = 7680
p15a0/max_ss = 7935
p15a0/res = 13333.3
p15a0/corner_x = 1041.99739
p15a0/corner_y = -531.99867
p15a0/fs = +0.999997500x
p15a0/ss = +0.999997500y

p15a1/min_fs = 256
p15a1/max_fs = 511
p15a1/min_ss = 7680
p15a1/max_ss = 7935
p15a1/res = 13333.3
p15a1/corner_x = 1299.99675
p15a1/corner_y = -531.99867
p15a1/fs = +0.999997500x
p15a1/ss = +0.999997500y

p15a2/min_fs = 512
p15a2/max_fs = 767
p15a2/min_ss = 7680
p15a2/max_ss = 7935
p15a2/res = 13333.3
p15a2/corner_x = 1557.9961
p15a2/corner_y = -531.99867
p15a2/fs = +0.999997500x
p15a2/ss = +0.999997500y

p15a3/min_fs = 768
p15a3/max_fs = 1023
p15a3/min_ss = 7680
p15a3/max_ss = 7935
p15a3/res = 13333.3
p15a3/corner_x = 1815.99546
p15a3/corner_y = -531.99867
p15a3/fs = +0.999997500x
p15a3/ss = +0.999997500y

p15a4/min_fs = 0
p15a4/max_fs = 255
p15a4/min_ss = 7936
p15a4/max_ss = 8191
p15a4/res = 13333.3
p15a4/corner_x = 1041.99739
p15a4/corner_y = -273.999315
p15a4/fs = +0.999997500x
p15a4/ss = +0.999997500y

p15a5/min_fs = 256
p15a5/max_fs = 511
p15a5/min_ss = 7936
p15a5/max_ss = 8191
p15a5/res = 13333.3
p15a5/corner_x = 1299.99675
p15a5/corner_y = -273.999315
p15a5/fs = +0.999997500x
p15a5/ss = +0.999997500y

p15a6/min_fs = 512
p15a6/max_fs = 767
p15a6/min_ss = 7936
p15a6/max_ss = 8191
p15a6/res = 13333.3
p15a6/corner_x = 1557.9961
p15a6/corner_y = -273.999315
p15a6/fs = +0.999997500x
p15a6/ss = +0.999997500y

p15a7/min_fs = 768
p15a7/max_fs = 1023
p15a7/min_ss = 7936
p15a7/max_ss = 8191
p15a7/res = 13333.3
p15a7/corner_x = 1815.99546
p15a7/corner_y = -273.999315
p15a7/fs = +0.999997500x
p15a7/ss = +0.999997500y

p16a0/min_fs = 0
p16a0/max_fs = 255
p16a0/min_ss = 8192
p16a0/max_ss = 8447
p16a0/res = 13333.3
p16a0/corner_x = -2071.99482
p16a0/corner_y = 17.999955
p16a0/fs = +0.999997500x
p16a0/ss = +0.999997500y

p16a1/min_fs = 256
p16a1/max_fs = 511
p16a1/min_ss = 8192
p16a1/max_ss = 8447
p16a1/res = 13333.3
p16a1/corner_x = -1813.99546
p16a1/corner_y = 17.999955
p16a1/fs = +0.999997500x
p16a1/ss = +0.999997500y

p16a2/min_fs = 512
p16a2/max_fs = 767
p16a2/min_ss = 8192
p16a2/max_ss = 8447
p16a2/res = 13333.3
p16a2/corner_x = -1555.99611
p16a2/corner_y = 17.999955
p16a2/fs = +0.999997500x
p16a2/ss = +0.999997500y

p16a3/min_fs = 768
p16a3/max_fs = 1023
p16a3/min_ss = 8192
p16a3/max_ss = 8447
p16a3/res = 13333.3
p16a3/corner_x = -1297.99675
p16a3/corner_y = 17.999955
p16a3/fs = +0.999997500x
p16a3/ss = +0.999997500y

p16a4/min_fs = 0
p16a4/max_fs = 255
p16a4/min_ss = 8448
p16a4/max_ss = 8703
p16a4/res = 13333.3
p16a4/corner_x = -2071.99482
p16a4/corner_y = 275.99931
p16a4/fs = +0.999997500x
p16a4/ss = +0.999997500y

p16a5/min_fs = 256
p16a5/max_fs = 511
p16a5/min_ss = 8448
p16a5/max_ss = 8703
p16a5/res = 13333.3
p16a5/corner_x = -1813.99546
p16a5/corner_y = 275.99931
p16a5/fs = +0.999997500x
p16a5/ss = +0.999997500y

p16a6/min_fs = 512
p16a6/max_fs = 767
p16a6/min_ss = 8448
p16a6/max_ss = 8703
p16a6/res = 13333.3
p16a6/corner_x = -1555.99611
p16a6/corner_y = 275.99931
p16a6/fs = +0.999997500x
p16a6/ss = +0.999997500y

p16a7/min_fs = 768
p16a7/max_fs = 1023
p16a7/min_ss = 8448
p16a7/max_ss = 8703
p16a7/res = 13333.3
p16a7/corner_x = -1297.99675
p16a7/corner_y = 275.99931
p16a7/fs = +0.999997500x
p16a7/ss = +0.999997500y

p17a0/min_fs = 0
p17a0/max_fs = 255
p17a0/min_ss = 8704
p17a0/max_ss = 8959
p17a0/res = 13333.3
p17a0/corner_x = -1033.99741
p17a0/corner_y = 17.999955
p17a0/fs = +0.999997500x
p17a0/ss = +0.999997500y

p17a1/min_fs = 256
p17a1/max_fs = 511
p17a1/min_ss = 8704
p17a1/max_ss = 8959
p17a1/res = 13333.3
p17a1/corner_x = -775.99806
p17a1/corner_y = 17.999955
p17a1/fs = +0.999997500x
p17a1/ss = +0.999997500y

p17a2/min_fs = 512
p17a2/max_fs = 767
p17a2/min_ss = 8704
p17a2/max_ss = 8959
p17a2/res = 13333.3
p17a2/corner_x = -517.998705
p17a2/corner_y = 17.999955
p17a2/fs = +0.999997500x
p17a2/ss = +0.999997500y

p17a3/min_fs = 768
p17a3/max_fs = 1023
p17a3/min_ss = 8704
p17a3/max_ss = 8959
p17a3/res = 13333.3
p17a3/corner_x = -259.99935
p17a3/corner_y = 17.999955
p17a3/fs = +0.999997500x
p17a3/ss = +0.999997500y

p17a4/min_fs = 0
p17a4/max_fs = 255
p17a4/min_ss = 8960
p17a4/max_ss = 9215
p17a4/res = 13333.3
p17a4/corner_x = -1033.99741
p17a4/corner_y = 275.99931
p17a4/fs = +0.999997500x
p17a4/ss = +0.999997500y

p17a5/min_fs = 256
p17a5/max_fs = 511
p17a5/min_ss = 8960
p17a5/max_ss = 9215
p17a5/res = 13333.3
p17a5/corner_x = -775.99806
p17a5/corner_y = 275.99931
p17a5/fs = +0.999997500x
p17a5/ss = +0.999997500y

p17a6/min_fs = 512
p17a6/max_fs = 767
p17a6/min_ss = 8960
p17a6/max_ss = 9215
p17a6/res = 13333.3
p17a6/corner_x = -517.998705
p17a6/corner_y = 275.99931
p17a6/fs = +0.999997500x
p17a6/ss = +0.999997500y

p17a7/min_fs = 768
p17a7/max_fs = 1023
p17a7/min_ss = 8960
p17a7/max_ss = 9215
p17a7/res = 13333.3
p17a7/corner_x = -259.99935
p17a7/corner_y = 275.99931
p17a7/fs = +0.999997500x
p17a7/ss = +0.999997500y

p18a0/min_fs = 0
p18a0/max_fs = 255
p18a0/min_ss = 9216
p18a0/max_ss = 9471
p18a0/res = 13333.3
p18a0/corner_x = 3.99999
p18a0/corner_y = 17.999955
p18a0/fs = +0.999997500x
p18a0/ss = +0.999997500y

p18a1/min_fs = 256
p18a1/max_fs = 511
p18a1/min_ss = 9216
p18a1/max_ss = 9471
p18a1/res = 13333.3
p18a1/corner_x = 261.999345
p18a1/corner_y = 17.999955
p18a1/fs = +0.999997500x
p18a1/ss = +0.999997500y

p18a2/min_fs = 512
p18a2/max_fs = 767
p18a2/min_ss = 9216
p18a2/max_ss = 9471
p18a2/res = 13333.3
p18a2/corner_x = 519.9987
p18a2/corner_y = 17.999955
p18a2/fs = +0.999997500x
p18a2/ss = +0.999997500y

p18a3/min_fs = 768
p18a3/max_fs = 1023
p18a3/min_ss = 9216
p18a3/max_ss = 9471
p18a3/res = 13333.3
p18a3/corner_x = 777.998055
p18a3/corner_y = 17.999955
p18a3/fs = +0.999997500x
p18a3/ss = +0.999997500y

p18a4/min_fs = 0
p18a4/max_fs = 255
p18a4/min_ss = 9472
p18a4/max_ss = 9727
p18a4/res = 13333.3
p18a4/corner_x = 3.99999
p18a4/corner_y = 275.99931
p18a4/fs = +0.999997500x
p18a4/ss = +0.999997500y

p18a5/min_fs = 256
p18a5/max_fs = 511
p18a5/min_ss = 9472
p18a5/max_ss = 9727
p18a5/res = 13333.3
p18a5/corner_x = 261.999345
p18a5/corner_y = 275.99931
p18a5/fs = +0.999997500x
p18a5/ss = +0.999997500y

p18a6/min_fs = 512
p18a6/max_fs = 767
p18a6/min_ss = 9472
p18a6/max_ss = 9727
p18a6/res = 13333.3
p18a6/corner_x = 519.9987
p18a6/corner_y = 275.99931
p18a6/fs = +0.999997500x
p18a6/ss = +0.999997500y

p18a7/min_fs = 768
p18a7/max_fs = 1023
p18a7/min_ss = 9472
p18a7/max_ss = 9727
p18a7/res = 13333.3
p18a7/corner_x = 777.998055
p18a7/corner_y = 275.99931
p18a7/fs = +0.999997500x
p18a7/ss = +0.999997500y

p19a0/min_fs = 0
p19a0/max_fs = 255
p19a0/min_ss = 9728
p19a0/max_ss = 9983
p19a0/res = 13333.3
p19a0/corner_x = 1041.99739
p19a0/corner_y = 17.999955
p19a0/fs = +0.999997500x
p19a0/ss = +0.999997500y

p19a1/min_fs = 256
p19a1/max_fs = 511
p19a1/min_ss = 9728
p19a1/max_ss = 9983
p19a1/res = 13333.3
p19a1/corner_x = 1299.99675
p19a1/corner_y = 17.999955
p19a1/fs = +0.999997500x
p19a1/ss = +0.999997500y

p19a2/min_fs = 512
p19a2/max_fs = 767
p19a2/min_ss = 9728
p19a2/max_ss = 9983
p19a2/res = 13333.3
p19a2/corner_x = 1557.9961
p19a2/corner_y = 17.999955
p19a2/fs = +0.999997500x
p19a2/ss = +0.999997500y

p19a3/min_fs = 768
p19a3/max_fs = 1023
p19a3/min_ss = 9728
p19a3/max_ss = 9983
p19a3/res = 13333.3
p19a3/corner_x = 1815.99546
p19a3/corner_y = 17.999955
p19a3/fs = +0.999997500x
p19a3/ss = +0.999997500y

p19a4/min_fs = 0
p19a4/max_fs = 255
p19a4/min_ss = 9984
p19a4/max_ss = 10239
p19a4/res = 13333.3
p19a4/corner_x = 1041.99739
p19a4/corner_y = 275.99931
p19a4/fs = +0.999997500x
p19a4/ss = +0.999997500y

p19a5/min_fs = 256
p19a5/max_fs = 511
p19a5/min_ss = 9984
p19a5/max_ss = 10239
p19a5/res = 13333.3
p19a5/corner_x = 1299.99675
p19a5/corner_y = 275.99931
p19a5/fs = +0.999997500x
p19a5/ss = +0.999997500y

p19a6/min_fs = 512
p19a6/max_fs = 767
p19a6/min_ss = 9984
p19a6/max_ss = 10239
p19a6/res = 13333.3
p19a6/corner_x = 1557.9961
p19a6/corner_y = 275.99931
p19a6/fs = +0.999997500x
p19a6/ss = +0.999997500y

p19a7/min_fs = 768
p19a7/max_fs = 1023
p19a7/min_ss = 9984
p19a7/max_ss = 10239
p19a7/res = 13333.3
p19a7/corner_x = 1815.99546
p19a7/corner_y = 275.99931
p19a7/fs = +0.999997500x
p19a7/ss = +0.999997500y

p20a0/min_fs = 0
p20a0/max_fs = 255
p20a0/min_ss = 10240
p20a0/max_ss = 10495
p20a0/res = 13333.3
p20a0/corner_x = -2071.99482
p20a0/corner_y = 567.99858
p20a0/fs = +0.999997500x
p20a0/ss = +0.999997500y

p20a1/min_fs = 256
p20a1/max_fs = 511
p20a1/min_ss = 10240
p20a1/max_ss = 10495
p20a1/res = 13333.3
p20a1/corner_x = -1813.99546
p20a1/corner_y = 567.99858
p20a1/fs = +0.999997500x
p20a1/ss = +0.999997500y

p20a2/min_fs = 512
p20a2/max_fs = 767
p20a2/min_ss = 10240
p20a2/max_ss = 10495
p20a2/res = 13333.3
p20a2/corner_x = -1555.99611
p20a2/corner_y = 567.99858
p20a2/fs = +0.999997500x
p20a2/ss = +0.999997500y

p20a3/min_fs = 768
p20a3/max_fs = 1023
p20a3/min_ss = 10240
p20a3/max_ss = 10495
p20a3/res = 13333.3
p20a3/corner_x = -1297.99675
p20a3/corner_y = 567.99858
p20a3/fs = +0.999997500x
p20a3/ss = +0.999997500y

p20a4/min_fs = 0
p20a4/max_fs = 255
p20a4/min_ss = 10496
p20a4/max_ss = 10751
p20a4/res = 13333.3
p20a4/corner_x = -2071.99482
p20a4/corner_y = 825.997935
p20a4/fs = +0.999997500x
p20a4/ss = +0.999997500y

p20a5/min_fs = 256
p20a5/max_fs = 511
p20a5/min_ss = 10496
p20a5/max_ss = 10751
p20a5/res = 13333.3
p20a5/corner_x = -1813.99546
p20a5/corner_y = 825.997935
p20a5/fs = +0.999997500x
p20a5/ss = +0.999997500y

p20a6/min_fs = 512
p20a6/max_fs = 767
p20a6/min_ss = 10496
p20a6/max_ss = 10751
p20a6/res = 13333.3
p20a6/corner_x = -1555.99611
p20a6/corner_y = 825.997935
p20a6/fs = +0.999997500x
p20a6/ss = +0.999997500y

p20a7/min_fs = 768
p20a7/max_fs = 1023
p20a7/min_ss = 10496
p20a7/max_ss = 10751
p20a7/res = 13333.3
p20a7/corner_x = -1297.99675
p20a7/corner_y = 825.997935
p20a7/fs = +0.999997500x
p20a7/ss = +0.999997500y

p21a0/min_fs = 0
p21a0/max_fs = 255
p21a0/min_ss = 10752
p21a0/max_ss = 11007
p21a0/res = 13333.3
p21a0/corner_x = -1033.99741
p21a0/corner_y = 567.99858
p21a0/fs = +0.999997500x
p21a0/ss = +0.999997500y

p21a1/min_fs = 256
p21a1/max_fs = 511
p21a1/min_ss = 10752
p21a1/max_ss = 11007
p21a1/res = 13333.3
p21a1/corner_x = -775.99806
p21a1/corner_y = 567.99858
p21a1/fs = +0.999997500x
p21a1/ss = +0.999997500y

p21a2/min_fs = 512
p21a2/max_fs = 767
p21a2/min_ss = 10752
p21a2/max_ss = 11007
p21a2/res = 13333.3
p21a2/corner_x = -517.998705
p21a2/corner_y = 567.99858
p21a2/fs = +0.999997500x
p21a2/ss = +0.999997500y

p21a3/min_fs = 768
p21a3/max_fs = 1023
p21a3/min_ss = 10752
p21a3/max_ss = 11007
p21a3/res = 13333.3
p21a3/corner_x = -259.99935
p21a3/corner_y = 567.99858
p21a3/fs = +0.999997500x
p21a3/ss = +0.999997500y

p21a4/min_fs = 0
p21a4/max_fs = 255
p21a4/min_ss = 11008
p21a4/max_ss = 11263
p21a4/res = 13333.3
p21a4/corner_x = -1033.99741
p21a4/corner_y = 825.997935
p21a4/fs = +0.999997500x
p21a4/ss = +0.999997500y

p21a5/min_fs = 256
p21a5/max_fs = 511
p21a5/min_ss = 11008
p21a5/max_ss = 11263
p21a5/res = 13333.3
p21a5/corner_x = -775.99806
p21a5/corner_y = 825.997935
p21a5/fs = +0.999997500x
p21a5/ss = +0.999997500y

p21a6/min_fs = 512
p21a6/max_fs = 767
p21a6/min_ss = 11008
p21a6/max_ss = 11263
p21a6/res = 13333.3
p21a6/corner_x = -517.998705
p21a6/corner_y = 825.997935
p21a6/fs = +0.999997500x
p21a6/ss = +0.999997500y

p21a7/min_fs = 768
p21a7/max_fs = 1023
p21a7/min_ss = 11008
p21a7/max_ss = 11263
p21a7/res = 13333.3
p21a7/corner_x = -259.99935
p21a7/corner_y = 825.997935
p21a7/fs = +0.999997500x
p21a7/ss = +0.999997500y

p22a0/min_fs = 0
p22a0/max_fs = 255
p22a0/min_ss = 11264
p22a0/max_ss = 11519
p22a0/res = 13333.3
p22a0/corner_x = 3.99999
p22a0/corner_y = 567.99858
p22a0/fs = +0.999997500x
p22a0/ss = +0.999997500y

p22a1/min_fs = 256
p22a1/max_fs = 511
p22a1/min_ss = 11264
p22a1/max_ss = 11519
p22a1/res = 13333.3
p22a1/corner_x = 261.999345
p22a1/corner_y = 567.99858
p22a1/fs = +0.999997500x
p22a1/ss = +0.999997500y

p22a2/min_fs = 512
p22a2/max_fs = 767
p22a2/min_ss = 11264
p22a2/max_ss = 11519
p22a2/res = 13333.3
p22a2/corner_x = 519.9987
p22a2/corner_y = 567.99858
p22a2/fs = +0.999997500x
p22a2/ss = +0.999997500y

p22a3/min_fs = 768
p22a3/max_fs = 1023
p22a3/min_ss = 11264
p22a3/max_ss = 11519
p22a3/res = 13333.3
p22a3/corner_x = 777.998055
p22a3/corner_y = 567.99858
p22a3/fs = +0.999997500x
p22a3/ss = +0.999997500y

p22a4/min_fs = 0
p22a4/max_fs = 255
p22a4/min_ss = 11520
p22a4/max_ss = 11775
p22a4/res = 13333.3
p22a4/corner_x = 3.99999
p22a4/corner_y = 825.997935
p22a4/fs = +0.999997500x
p22a4/ss = +0.999997500y

p22a5/min_fs = 256
p22a5/max_fs = 511
p22a5/min_ss = 11520
p22a5/max_ss = 11775
p22a5/res = 13333.3
p22a5/corner_x = 261.999345
p22a5/corner_y = 825.997935
p22a5/fs = +0.999997500x
p22a5/ss = +0.999997500y

p22a6/min_fs = 512
p22a6/max_fs = 767
p22a6/min_ss = 11520
p22a6/max_ss = 11775
p22a6/res = 13333.3
p22a6/corner_x = 519.9987
p22a6/corner_y = 825.997935
p22a6/fs = +0.999997500x
p22a6/ss = +0.999997500y

p22a7/min_fs = 768
p22a7/max_fs = 1023
p22a7/min_ss = 11520
p22a7/max_ss = 11775
p22a7/res = 13333.3
p22a7/corner_x = 777.998055
p22a7/corner_y = 825.997935
p22a7/fs = +0.999997500x
p22a7/ss = +0.999997500y

p23a0/min_fs = 0
p23a0/max_fs = 255
p23a0/min_ss = 11776
p23a0/max_ss = 12031
p23a0/res = 13333.3
p23a0/corner_x = 1041.99739
p23a0/corner_y = 567.99858
p23a0/fs = +0.999997500x
p23a0/ss = +0.999997500y

p23a1/min_fs = 256
p23a1/max_fs = 511
p23a1/min_ss = 11776
p23a1/max_ss = 12031
p23a1/res = 13333.3
p23a1/corner_x = 1299.99675
p23a1/corner_y = 567.99858
p23a1/fs = +0.999997500x
p23a1/ss = +0.999997500y

p23a2/min_fs = 512
p23a2/max_fs = 767
p23a2/min_ss = 11776
p23a2/max_ss = 12031
p23a2/res = 13333.3
p23a2/corner_x = 1557.9961
p23a2/corner_y = 567.99858
p23a2/fs = +0.999997500x
p23a2/ss = +0.999997500y

p23a3/min_fs = 768
p23a3/max_fs = 1023
p23a3/min_ss = 11776
p23a3/max_ss = 12031
p23a3/res = 13333.3
p23a3/corner_x = 1815.99546
p23a3/corner_y = 567.99858
p23a3/fs = +0.999997500x
p23a3/ss = +0.999997500y

p23a4/min_fs = 0
p23a4/max_fs = 255
p23a4/min_ss = 12032
p23a4/max_ss = 12287
p23a4/res = 13333.3
p23a4/corner_x = 1041.99739
p23a4/corner_y = 825.997935
p23a4/fs = +0.999997500x
p23a4/ss = +0.999997500y

p23a5/min_fs = 256
p23a5/max_fs = 511
p23a5/min_ss = 12032
p23a5/max_ss = 12287
p23a5/res = 13333.3
p23a5/corner_x = 1299.99675
p23a5/corner_y = 825.997935
p23a5/fs = +0.999997500x
p23a5/ss = +0.999997500y

p23a6/min_fs = 512
p23a6/max_fs = 767
p23a6/min_ss = 12032
p23a6/max_ss = 12287
p23a6/res = 13333.3
p23a6/corner_x = 1557.9961
p23a6/corner_y = 825.997935
p23a6/fs = +0.999997500x
p23a6/ss = +0.999997500y

p23a7/min_fs = 768
p23a7/max_fs = 1023
p23a7/min_ss = 12032
p23a7/max_ss = 12287
p23a7/res = 13333.3
p23a7/corner_x = 1815.99546
p23a7/corner_y = 825.997935
p23a7/fs = +0.999997500x
p23a7/ss = +0.999997500y

p24a0/min_fs = 0
p24a0/max_fs = 255
p24a0/min_ss = 12288
p24a0/max_ss = 12543
p24a0/res = 13333.3
p24a0/corner_x = -2071.99482
p24a0/corner_y = 1117.9972
p24a0/fs = +0.999997500x
p24a0/ss = +0.999997500y

p24a1/min_fs = 256
p24a1/max_fs = 511
p24a1/min_ss = 12288
p24a1/max_ss = 12543
p24a1/res = 13333.3
p24a1/corner_x = -1813.99546
p24a1/corner_y = 1117.9972
p24a1/fs = +0.999997500x
p24a1/ss = +0.999997500y

p24a2/min_fs = 512
p24a2/max_fs = 767
p24a2/min_ss = 12288
p24a2/max_ss = 12543
p24a2/res = 13333.3
p24a2/corner_x = -1555.99611
p24a2/corner_y = 1117.9972
p24a2/fs = +0.999997500x
p24a2/ss = +0.999997500y

p24a3/min_fs = 768
p24a3/max_fs = 1023
p24a3/min_ss = 12288
p24a3/max_ss = 12543
p24a3/res = 13333.3
p24a3/corner_x = -1297.99675
p24a3/corner_y = 1117.9972
p24a3/fs = +0.999997500x
p24a3/ss = +0.999997500y

p24a4/min_fs = 0
p24a4/max_fs = 255
p24a4/min_ss = 12544
p24a4/max_ss = 12799
p24a4/res = 13333.3
p24a4/corner_x = -2071.99482
p24a4/corner_y = 1375.99656
p24a4/fs = +0.999997500x
p24a4/ss = +0.999997500y

p24a5/min_fs = 256
p24a5/max_fs = 511
p24a5/min_ss = 12544
p24a5/max_ss = 12799
p24a5/res = 13333.3
p24a5/corner_x = -1813.99546
p24a5/corner_y = 1375.99656
p24a5/fs = +0.999997500x
p24a5/ss = +0.999997500y

p24a6/min_fs = 512
p24a6/max_fs = 767
p24a6/min_ss = 12544
p24a6/max_ss = 12799
p24a6/res = 13333.3
p24a6/corner_x = -1555.99611
p24a6/corner_y = 1375.99656
p24a6/fs = +0.999997500x
p24a6/ss = +0.999997500y

p24a7/min_fs = 768
p24a7/max_fs = 1023
p24a7/min_ss = 12544
p24a7/max_ss = 12799
p24a7/res = 13333.3
p24a7/corner_x = -1297.99675
p24a7/corner_y = 1375.99656
p24a7/fs = +0.999997500x
p24a7/ss = +0.999997500y

p25a0/min_fs = 0
p25a0/max_fs = 255
p25a0/min_ss = 12800
p25a0/max_ss = 13055
p25a0/res = 13333.3
p25a0/corner_x = -1033.99741
p25a0/corner_y = 1117.9972
p25a0/fs = +0.999997500x
p25a0/ss = +0.999997500y

p25a1/min_fs = 256
p25a1/max_fs = 511
p25a1/min_ss = 12800
p25a1/max_ss = 13055
p25a1/res = 13333.3
p25a1/corner_x = -775.99806
p25a1/corner_y = 1117.9972
p25a1/fs = +0.999997500x
p25a1/ss = +0.999997500y

p25a2/min_fs = 512
p25a2/max_fs = 767
p25a2/min_ss = 12800
p25a2/max_ss = 13055
p25a2/res = 13333.3
p25a2/corner_x = -517.998705
p25a2/corner_y = 1117.9972
p25a2/fs = +0.999997500x
p25a2/ss = +0.999997500y

p25a3/min_fs = 768
p25a3/max_fs = 1023
p25a3/min_ss = 12800
p25a3/max_ss = 13055
p25a3/res = 13333.3
p25a3/corner_x = -259.99935
p25a3/corner_y = 1117.9972
p25a3/fs = +0.999997500x
p25a3/ss = +0.999997500y

p25a4/min_fs = 0
p25a4/max_fs = 255
p25a4/min_ss = 13056
p25a4/max_ss = 13311
p25a4/res = 13333.3
p25a4/corner_x = -1033.99741
p25a4/corner_y = 1375.99656
p25a4/fs = +0.999997500x
p25a4/ss = +0.999997500y

p25a5/min_fs = 256
p25a5/max_fs = 511
p25a5/min_ss = 13056
p25a5/max_ss = 13311
p25a5/res = 13333.3
p25a5/corner_x = -775.99806
p25a5/corner_y = 1375.99656
p25a5/fs = +0.999997500x
p25a5/ss = +0.999997500y

p25a6/min_fs = 512
p25a6/max_fs = 767
p25a6/min_ss = 13056
p25a6/max_ss = 13311
p25a6/res = 13333.3
p25a6/corner_x = -517.998705
p25a6/corner_y = 1375.99656
p25a6/fs = +0.999997500x
p25a6/ss = +0.999997500y

p25a7/min_fs = 768
p25a7/max_fs = 1023
p25a7/min_ss = 13056
p25a7/max_ss = 13311
p25a7/res = 13333.3
p25a7/corner_x = -259.99935
p25a7/corner_y = 1375.99656
p25a7/fs = +0.999997500x
p25a7/ss = +0.999997500y

p26a0/min_fs = 0
p26a0/max_fs = 255
p26a0/min_ss = 13312
p26a0/max_ss = 13567
p26a0/res = 13333.3
p26a0/corner_x = 3.99999
p26a0/corner_y = 1117.9972
p26a0/fs = +0.999997500x
p26a0/ss = +0.999997500y

p26a1/min_fs = 256
p26a1/max_fs = 511
p26a1/min_ss = 13312
p26a1/max_ss = 13567
p26a1/res = 13333.3
p26a1/corner_x = 261.999345
p26a1/corner_y = 1117.9972
p26a1/fs = +0.999997500x
p26a1/ss = +0.999997500y

p26a2/min_fs = 512
p26a2/max_fs = 767
p26a2/min_ss = 13312
p26a2/max_ss = 13567
p26a2/res = 13333.3
p26a2/corner_x = 519.9987
p26a2/corner_y = 1117.9972
p26a2/fs = +0.999997500x
p26a2/ss = +0.999997500y

p26a3/min_fs = 768
p26a3/max_fs = 1023
p26a3/min_ss = 13312
p26a3/max_ss = 13567
p26a3/res = 13333.3
p26a3/corner_x = 777.998055
p26a3/corner_y = 1117.9972
p26a3/fs = +0.999997500x
p26a3/ss = +0.999997500y

p26a4/min_fs = 0
p26a4/max_fs = 255
p26a4/min_ss = 13568
p26a4/max_ss = 13823
p26a4/res = 13333.3
p26a4/corner_x = 3.99999
p26a4/corner_y = 1375.99656
p26a4/fs = +0.999997500x
p26a4/ss = +0.999997500y

p26a5/min_fs = 256
p26a5/max_fs = 511
p26a5/min_ss = 13568
p26a5/max_ss = 13823
p26a5/res = 13333.3
p26a5/corner_x = 261.999345
p26a5/corner_y = 1375.99656
p26a5/fs = +0.999997500x
p26a5/ss = +0.999997500y

p26a6/min_fs = 512
p26a6/max_fs = 767
p26a6/min_ss = 13568
p26a6/max_ss = 13823
p26a6/res = 13333.3
p26a6/corner_x = 519.9987
p26a6/corner_y = 1375.99656
p26a6/fs = +0.999997500x
p26a6/ss = +0.999997500y

p26a7/min_fs = 768
p26a7/max_fs = 1023
p26a7/min_ss = 13568
p26a7/max_ss = 13823
p26a7/res = 13333.3
p26a7/corner_x = 777.998055
p26a7/corner_y = 1375.99656
p26a7/fs = +0.999997500x
p26a7/ss = +0.999997500y

p27a0/min_fs = 0
p27a0/max_fs = 255
p27a0/min_ss = 13824
p27a0/max_ss = 14079
p27a0/res = 13333.3
p27a0/corner_x = 1041.99739
p27a0/corner_y = 1117.9972
p27a0/fs = +0.999997500x
p27a0/ss = +0.999997500y

p27a1/min_fs = 256
p27a1/max_fs = 511
p27a1/min_ss = 13824
p27a1/max_ss = 14079
p27a1/res = 13333.3
p27a1/corner_x = 1299.99675
p27a1/corner_y = 1117.9972
p27a1/fs = +0.999997500x
p27a1/ss = +0.999997500y

p27a2/min_fs = 512
p27a2/max_fs = 767
p27a2/min_ss = 13824
p27a2/max_ss = 14079
p27a2/res = 13333.3
p27a2/corner_x = 1557.9961
p27a2/corner_y = 1117.9972
p27a2/fs = +0.999997500x
p27a2/ss = +0.999997500y

p27a3/min_fs = 768
p27a3/max_fs = 1023
p27a3/min_ss = 13824
p27a3/max_ss = 14079
p27a3/res = 13333.3
p27a3/corner_x = 1815.99546
p27a3/corner_y = 1117.9972
p27a3/fs = +0.999997500x
p27a3/ss = +0.999997500y

p27a4/min_fs = 0
p27a4/max_fs = 255
p27a4/min_ss = 14080
p27a4/max_ss = 14335
p27a4/res = 13333.3
p27a4/corner_x = 1041.99739
p27a4/corner_y = 1375.99656
p27a4/fs = +0.999997500x
p27a4/ss = +0.999997500y

p27a5/min_fs = 256
p27a5/max_fs = 511
p27a5/min_ss = 14080
p27a5/max_ss = 14335
p27a5/res = 13333.3
p27a5/corner_x = 1299.99675
p27a5/corner_y = 1375.99656
p27a5/fs = +0.999997500x
p27a5/ss = +0.999997500y

p27a6/min_fs = 512
p27a6/max_fs = 767
p27a6/min_ss = 14080
p27a6/max_ss = 14335
p27a6/res = 13333.3
p27a6/corner_x = 1557.9961
p27a6/corner_y = 1375.99656
p27a6/fs = +0.999997500x
p27a6/ss = +0.999997500y

p27a7/min_fs = 768
p27a7/max_fs = 1023
p27a7/min_ss = 14080
p27a7/max_ss = 14335
p27a7/res = 13333.3
p27a7/corner_x = 1815.99546
p27a7/corner_y = 1375.99656
p27a7/fs = +0.999997500x
p27a7/ss = +0.999997500y

p28a0/min_fs = 0
p28a0/max_fs = 255
p28a0/min_ss = 14336
p28a0/max_ss = 14591
p28a0/res = 13333.3
p28a0/corner_x = -2071.99482
p28a0/corner_y = 1667.99583
p28a0/fs = +0.999997500x
p28a0/ss = +0.999997500y

p28a1/min_fs = 256
p28a1/max_fs = 511
p28a1/min_ss = 14336
p28a1/max_ss = 14591
p28a1/res = 13333.3
p28a1/corner_x = -1813.99546
p28a1/corner_y = 1667.99583
p28a1/fs = +0.999997500x
p28a1/ss = +0.999997500y

p28a2/min_fs = 512
p28a2/max_fs = 767
p28a2/min_ss = 14336
p28a2/max_ss = 14591
p28a2/res = 13333.3
p28a2/corner_x = -1555.99611
p28a2/corner_y = 1667.99583
p28a2/fs = +0.999997500x
p28a2/ss = +0.999997500y

p28a3/min_fs = 768
p28a3/max_fs = 1023
p28a3/min_ss = 14336
p28a3/max_ss = 14591
p28a3/res = 13333.3
p28a3/corner_x = -1297.99675
p28a3/corner_y = 1667.99583
p28a3/fs = +0.999997500x
p28a3/ss = +0.999997500y

p28a4/min_fs = 0
p28a4/max_fs = 255
p28a4/min_ss = 14592
p28a4/max_ss = 14847
p28a4/res = 13333.3
p28a4/corner_x = -2071.99482
p28a4/corner_y = 1925.99518
p28a4/fs = +0.999997500x
p28a4/ss = +0.999997500y

p28a5/min_fs = 256
p28a5/max_fs = 511
p28a5/min_ss = 14592
p28a5/max_ss = 14847
p28a5/res = 13333.3
p28a5/corner_x = -1813.99546
p28a5/corner_y = 1925.99518
p28a5/fs = +0.999997500x
p28a5/ss = +0.999997500y

p28a6/min_fs = 512
p28a6/max_fs = 767
p28a6/min_ss = 14592
p28a6/max_ss = 14847
p28a6/res = 13333.3
p28a6/corner_x = -1555.99611
p28a6/corner_y = 1925.99518
p28a6/fs = +0.999997500x
p28a6/ss = +0.999997500y

p28a7/min_fs = 768
p28a7/max_fs = 1023
p28a7/min_ss = 14592
p28a7/max_ss = 14847
p28a7/res = 13333.3
p28a7/corner_x = -1297.99675
p28a7/corner_y = 1925.99518
p28a7/fs = +0.999997500x
p28a7/ss = +0.999997500y

p29a0/min_fs = 0
p29a0/max_fs = 255
p29a0/min_ss = 14848
p29a0/max_ss = 15103
p29a0/res = 13333.3
p29a0/corner_x = -1033.99741
p29a0/corner_y = 1667.99583
p29a0/fs = +0.999997500x
p29a0/ss = +0.999997500y

p29a1/min_fs = 256
p29a1/max_fs = 511
p29a1/min_ss = 14848
p29a1/max_ss = 15103
p29a1/res = 13333.3
p29a1/corner_x = -775.99806
p29a1/corner_y = 1667.99583
p29a1/fs = +0.999997500x
p29a1/ss = +0.999997500y

p29a2/min_fs = 512
p29a2/max_fs = 767
p29a2/min_ss = 14848
p29a2/max_ss = 15103
p29a2/res = 13333.3
p29a2/corner_x = -517.998705
p29a2/corner_y = 1667.99583
p29a2/fs = +0.999997500x
p29a2/ss = +0.999997500y

p29a3/min_fs = 768
p29a3/max_fs = 1023
p29a3/min_ss = 14848
p29a3/max_ss = 15103
p29a3/res = 13333.3
p29a3/corner_x = -259.99935
p29a3/corner_y = 1667.99583
p29a3/fs = +0.999997500x
p29a3/ss = +0.999997500y

p29a4/min_fs = 0
p29a4/max_fs = 255
p29a4/min_ss = 15104
p29a4/max_ss = 15359
p29a4/res = 13333.3
p29a4/corner_x = -1033.99741
p29a4/corner_y = 1925.99518
p29a4/fs = +0.999997500x
p29a4/ss = +0.999997500y

p29a5/min_fs = 256
p29a5/max_fs = 511
p29a5/min_ss = 15104
p29a5/max_ss = 15359
p29a5/res = 13333.3
p29a5/corner_x = -775.99806
p29a5/corner_y = 1925.99518
p29a5/fs = +0.999997500x
p29a5/ss = +0.999997500y

p29a6/min_fs = 512
p29a6/max_fs = 767
p29a6/min_ss = 15104
p29a6/max_ss = 15359
p29a6/res = 13333.3
p29a6/corner_x = -517.998705
p29a6/corner_y = 1925.99518
p29a6/fs = +0.999997500x
p29a6/ss = +0.999997500y

p29a7/min_fs = 768
p29a7/max_fs = 1023
p29a7/min_ss = 15104
p29a7/max_ss = 15359
p29a7/res = 13333.3
p29a7/corner_x = -259.99935
p29a7/corner_y = 1925.99518
p29a7/fs = +0.999997500x
p29a7/ss = +0.999997500y

p30a0/min_fs = 0
p30a0/max_fs = 255
p30a0/min_ss = 15360
p30a0/max_ss = 15615
p30a0/res = 13333.3
p30a0/corner_x = 3.99999
p30a0/corner_y = 1667.99583
p30a0/fs = +0.999997500x
p30a0/ss = +0.999997500y

p30a1/min_fs = 256
p30a1/max_fs = 511
p30a1/min_ss = 15360
p30a1/max_ss = 15615
p30a1/res = 13333.3
p30a1/corner_x = 261.999345
p30a1/corner_y = 1667.99583
p30a1/fs = +0.999997500x
p30a1/ss = +0.999997500y

p30a2/min_fs = 512
p30a2/max_fs = 767
p30a2/min_ss = 15360
p30a2/max_ss = 15615
p30a2/res = 13333.3
p30a2/corner_x = 519.9987
p30a2/corner_y = 1667.99583
p30a2/fs = +0.999997500x
p30a2/ss = +0.999997500y

p30a3/min_fs = 768
p30a3/max_fs = 1023
p30a3/min_ss = 15360
p30a3/max_ss = 15615
p30a3/res = 13333.3
p30a3/corner_x = 777.998055
p30a3/corner_y = 1667.99583
p30a3/fs = +0.999997500x
p30a3/ss = +0.999997500y

p30a4/min_fs = 0
p30a4/max_fs = 255
p30a4/min_ss = 15616
p30a4/max_ss = 15871
p30a4/res = 13333.3
p30a4/corner_x = 3.99999
p30a4/corner_y = 1925.99518
p30a4/fs = +0.999997500x
p30a4/ss = +0.999997500y

p30a5/min_fs = 256
p30a5/max_fs = 511
p30a5/min_ss = 15616
p30a5/max_ss = 15871
p30a5/res = 13333.3
p30a5/corner_x = 261.999345
p30a5/corner_y = 1925.99518
p30a5/fs = +0.999997500x
p30a5/ss = +0.999997500y

p30a6/min_fs = 512
p30a6/max_fs = 767
p30a6/min_ss = 15616
p30a6/max_ss = 15871
p30a6/res = 13333.3
p30a6/corner_x = 519.9987
p30a6/corner_y = 1925.99518
p30a6/fs = +0.999997500x
p30a6/ss = +0.999997500y

p30a7/min_fs = 768
p30a7/max_fs = 1023
p30a7/min_ss = 15616
p30a7/max_ss = 15871
p30a7/res = 13333.3
p30a7/corner_x = 777.998055
p30a7/corner_y = 1925.99518
p30a7/fs = +0.999997500x
p30a7/ss = +0.999997500y

p31a0/min_fs = 0
p31a0/max_fs = 255
p31a0/min_ss = 15872
p31a0/max_ss = 16127
p31a0/res = 13333.3
p31a0/corner_x = 1041.99739
p31a0/corner_y = 1667.99583
p31a0/fs = +0.999997500x
p31a0/ss = +0.999997500y

p31a1/min_fs = 256
p31a1/max_fs = 511
p31a1/min_ss = 15872
p31a1/max_ss = 16127
p31a1/res = 13333.3
p31a1/corner_x = 1299.99675
p31a1/corner_y = 1667.99583
p31a1/fs = +0.999997500x
p31a1/ss = +0.999997500y

p31a2/min_fs = 512
p31a2/max_fs = 767
p31a2/min_ss = 15872
p31a2/max_ss = 16127
p31a2/res = 13333.3
p31a2/corner_x = 1557.9961
p31a2/corner_y = 1667.99583
p31a2/fs = +0.999997500x
p31a2/ss = +0.999997500y

p31a3/min_fs = 768
p31a3/max_fs = 1023
p31a3/min_ss = 15872
p31a3/max_ss = 16127
p31a3/res = 13333.3
p31a3/corner_x = 1815.99546
p31a3/corner_y = 1667.99583
p31a3/fs = +0.999997500x
p31a3/ss = +0.999997500y

p31a4/min_fs = 0
p31a4/max_fs = 255
p31a4/min_ss = 16128
p31a4/max_ss = 16383
p31a4/res = 13333.3
p31a4/corner_x = 1041.99739
p31a4/corner_y = 1925.99518
p31a4/fs = +0.999997500x
p31a4/ss = +0.999997500y

p31a5/min_fs = 256
p31a5/max_fs = 511
p31a5/min_ss = 16128
p31a5/max_ss = 16383
p31a5/res = 13333.3
p31a5/corner_x = 1299.99675
p31a5/corner_y = 1925.99518
p31a5/fs = +0.999997500x
p31a5/ss = +0.999997500y

p31a6/min_fs = 512
p31a6/max_fs = 767
p31a6/min_ss = 16128
p31a6/max_ss = 16383
p31a6/res = 13333.3
p31a6/corner_x = 1557.9961
p31a6/corner_y = 1925.99518
p31a6/fs = +0.999997500x
p31a6/ss = +0.999997500y

p31a7/min_fs = 768
p31a7/max_fs = 1023
p31a7/min_ss = 16128
p31a7/max_ss = 16383
p31a7/res = 13333.3
p31a7/corner_x = 1815.99546
p31a7/corner_y = 1925.99518
p31a7/fs = +0.999997500x
p31a7/ss = +0.999997500y
