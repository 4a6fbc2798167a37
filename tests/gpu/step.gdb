break average if kerf::emu::block_x() == 2 && kerf::emu::thread_x() == 3
run
next 2
print mine
print part
tbreak block_sync if kerf::emu::thread_x() == 3
continue
up
print x
backtrace
