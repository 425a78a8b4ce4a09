; Eiger 16M: 4371 x 4150 pixels of 75 um, 8 x 4 modules of 514 x 1030 with gaps of 37 and 10.
; Source: DECTRIS EIGER X user manual.
; Nominal positions, for simulation and as a start: refine with your own data before indexing.
; clen, photon_energy and the gain are examples of how it is used.
photon_energy = 12400.0 eV
clen = 0.15 m
adu_per_photon = 1.0
data = /entry_1/data_1/data
dim0 = %
dim1 = ss
dim2 = fs

bad_row1/min_fs = 0
bad_row1/max_fs = 4149
bad_row1/min_ss = 514
bad_row1/max_ss = 550

bad_row2/min_fs = 0
bad_row2/max_fs = 4149
bad_row2/min_ss = 1065
bad_row2/max_ss = 1101

bad_row3/min_fs = 0
bad_row3/max_fs = 4149
bad_row3/min_ss = 1616
bad_row3/max_ss = 1652

bad_row4/min_fs = 0
bad_row4/max_fs = 4149
bad_row4/min_ss = 2167
bad_row4/max_ss = 2203

bad_row5/min_fs = 0
bad_row5/max_fs = 4149
bad_row5/min_ss = 2718
bad_row5/max_ss = 2754

bad_row6/min_fs = 0
bad_row6/max_fs = 4149
bad_row6/min_ss = 3269
bad_row6/max_ss = 3305

bad_row7/min_fs = 0
bad_row7/max_fs = 4149
bad_row7/min_ss = 3820
bad_row7/max_ss = 3856

bad_col1/min_fs = 1030
bad_col1/max_fs = 1039
bad_col1/min_ss = 0
bad_col1/max_ss = 4370

bad_col2/min_fs = 2070
bad_col2/max_fs = 2079
bad_col2/min_ss = 0
bad_col2/max_ss = 4370

bad_col3/min_fs = 3110
bad_col3/max_fs = 3119
bad_col3/min_ss = 0
bad_col3/max_ss = 4370


p0/min_fs = 0
p0/max_fs = 4149
p0/min_ss = 0
p0/max_ss = 4370
p0/res = 13333.3
p0/corner_x = -2074.99481
p0/corner_y = -2185.49454
p0/fs = +0.999997500x
p0/ss = +0.999997500y
