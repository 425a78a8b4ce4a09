; Jungfrau1m: 2 modules of 512 x 1024 pixels of 75 um, 2 x 4 ASICs each with double-width pixels between them.
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
rigid_group_collection_modules = p0,p1

p0a0/min_fs = 0
p0a0/max_fs = 255
p0a0/min_ss = 0
p0a0/max_ss = 255
p0a0/res = 13333.3
p0a0/corner_x = -506.998732
p0a0/corner_y = -531.99867
p0a0/fs = +0.999997500x
p0a0/ss = +0.999997500y

p0a1/min_fs = 256
p0a1/max_fs = 511
p0a1/min_ss = 0
p0a1/max_ss = 255
p0a1/res = 13333.3
p0a1/corner_x = -248.999377
p0a1/corner_y = -531.99867
p0a1/fs = +0.999997500x
p0a1/ss = +0.999997500y

p0a2/min_fs = 512
p0a2/max_fs = 767
p0a2/min_ss = 0
p0a2/max_ss = 255
p0a2/res = 13333.3
p0a2/corner_x = 8.9999775
p0a2/corner_y = -531.99867
p0a2/fs = +0.999997500x
p0a2/ss = +0.999997500y

p0a3/min_fs = 768
p0a3/max_fs = 1023
p0a3/min_ss = 0
p0a3/max_ss = 255
p0a3/res = 13333.3
p0a3/corner_x = 266.999332
p0a3/corner_y = -531.99867
p0a3/fs = +0.999997500x
p0a3/ss = +0.999997500y

p0a4/min_fs = 0
p0a4/max_fs = 255
p0a4/min_ss = 256
p0a4/max_ss = 511
p0a4/res = 13333.3
p0a4/corner_x = -506.998732
p0a4/corner_y = -273.999315
p0a4/fs = +0.999997500x
p0a4/ss = +0.999997500y

p0a5/min_fs = 256
p0a5/max_fs = 511
p0a5/min_ss = 256
p0a5/max_ss = 511
p0a5/res = 13333.3
p0a5/corner_x = -248.999377
p0a5/corner_y = -273.999315
p0a5/fs = +0.999997500x
p0a5/ss = +0.999997500y

p0a6/min_fs = 512
p0a6/max_fs = 767
p0a6/min_ss = 256
p0a6/max_ss = 511
p0a6/res = 13333.3
p0a6/corner_x = 8.9999775
p0a6/corner_y = -273.999315
p0a6/fs = +0.999997500x
p0a6/ss = +0.999997500y

p0a7/min_fs = 768
p0a7/max_fs = 1023
p0a7/min_ss = 256
p0a7/max_ss = 511
p0a7/res = 13333.3
p0a7/corner_x = 266.999332
p0a7/corner_y = -273.999315
p0a7/fs = +0.999997500x
p0a7/ss = +0.999997500y

p1a0/min_fs = 0
p1a0/max_fs = 255
p1a0/min_ss = 512
p1a0/max_ss = 767
p1a0/res = 13333.3
p1a0/corner_x = -506.998732
p1a0/corner_y = 17.999955
p1a0/fs = +0.999997500x
p1a0/ss = +0.999997500y

p1a1/min_fs = 256
p1a1/max_fs = 511
p1a1/min_ss = 512
p1a1/max_ss = 767
p1a1/res = 13333.3
p1a1/corner_x = -248.999377
p1a1/corner_y = 17.999955
p1a1/fs = +0.999997500x
p1a1/ss = +0.999997500y

p1a2/min_fs = 512
p1a2/max_fs = 767
p1a2/min_ss = 512
p1a2/max_ss = 767
p1a2/res = 13333.3
p1a2/corner_x = 8.9999775
p1a2/corner_y = 17.999955
p1a2/fs = +0.999997500x
p1a2/ss = +0.999997500y

p1a3/min_fs = 768
p1a3/max_fs = 1023
p1a3/min_ss = 512
p1a3/max_ss = 767
p1a3/res = 13333.3
p1a3/corner_x = 266.999332
p1a3/corner_y = 17.999955
p1a3/fs = +0.999997500x
p1a3/ss = +0.999997500y

p1a4/min_fs = 0
p1a4/max_fs = 255
p1a4/min_ss = 768
p1a4/max_ss = 1023
p1a4/res = 13333.3
p1a4/corner_x = -506.998732
p1a4/corner_y = 275.99931
p1a4/fs = +0.999997500x
p1a4/ss = +0.999997500y

p1a5/min_fs = 256
p1a5/max_fs = 511
p1a5/min_ss = 768
p1a5/max_ss = 1023
p1a5/res = 13333.3
p1a5/corner_x = -248.999377
p1a5/corner_y = 275.99931
p1a5/fs = +0.999997500x
p1a5/ss = +0.999997500y

p1a6/min_fs = 512
p1a6/max_fs = 767
p1a6/min_ss = 768
p1a6/max_ss = 1023
p1a6/res = 13333.3
p1a6/corner_x = 8.9999775
p1a6/corner_y = 275.99931
p1a6/fs = +0.999997500x
p1a6/ss = +0.999997500y

p1a7/min_fs = 768
p1a7/max_fs = 1023
p1a7/min_ss = 768
p1a7/max_ss = 1023
p1a7/res = 13333.3
p1a7/corner_x = 266.999332
p1a7/corner_y = 275.99931
p1a7/fs = +0.999997500x
p1a7/ss = +0.999997500y
