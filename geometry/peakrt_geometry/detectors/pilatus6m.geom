; Pilatus 6M: 2527 x 2463 pixels of 172 um, 12 x 5 modules of 195 x 487 with gaps of 17 and 7.
; Source: DECTRIS PILATUS user manual.
; Nominal positions, for simulation and as a start: refine with your own data before indexing.
; clen, photon_energy and the gain are examples of how it is used.
photon_energy = 12400.0 eV
clen = 0.3 m
adu_per_photon = 1.0
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs

bad_row1/min_fs = 0
bad_row1/max_fs = 2462
bad_row1/min_ss = 195
bad_row1/max_ss = 211

bad_row2/min_fs = 0
bad_row2/max_fs = 2462
bad_row2/min_ss = 407
bad_row2/max_ss = 423

bad_row3/min_fs = 0
bad_row3/max_fs = 2462
bad_row3/min_ss = 619
bad_row3/max_ss = 635

bad_row4/min_fs = 0
bad_row4/max_fs = 2462
bad_row4/min_ss = 831
bad_row4/max_ss = 847

bad_row5/min_fs = 0
bad_row5/max_fs = 2462
bad_row5/min_ss = 1043
bad_row5/max_ss = 1059

bad_row6/min_fs = 0
bad_row6/max_fs = 2462
bad_row6/min_ss = 1255
bad_row6/max_ss = 1271

bad_row7/min_fs = 0
bad_row7/max_fs = 2462
bad_row7/min_ss = 1467
bad_row7/max_ss = 1483

bad_row8/min_fs = 0
bad_row8/max_fs = 2462
bad_row8/min_ss = 1679
bad_row8/max_ss = 1695

bad_row9/min_fs = 0
bad_row9/max_fs = 2462
bad_row9/min_ss = 1891
bad_row9/max_ss = 1907

bad_row10/min_fs = 0
bad_row10/max_fs = 2462
bad_row10/min_ss = 2103
bad_row10/max_ss = 2119

bad_row11/min_fs = 0
bad_row11/max_fs = 2462
bad_row11/min_ss = 2315
bad_row11/max_ss = 2331

bad_col1/min_fs = 487
bad_col1/max_fs = 493
bad_col1/min_ss = 0
bad_col1/max_ss = 2526

bad_col2/min_fs = 981
bad_col2/max_fs = 987
bad_col2/min_ss = 0
bad_col2/max_ss = 2526

bad_col3/min_fs = 1475
bad_col3/max_fs = 1481
bad_col3/min_ss = 0
bad_col3/max_ss = 2526

bad_col4/min_fs = 1969
bad_col4/max_fs = 1975
bad_col4/min_ss = 0
bad_col4/max_ss = 2526


p0/min_fs = 0
p0/max_fs = 2462
p0/min_ss = 0
p0/max_ss = 2526
p0/res = 5813.95
p0/corner_x = -1231.49926
p0/corner_y = -1263.49924
p0/fs = +0.999999400x
p0/ss = +0.999999400y
